#!/bin/sh
# Write requirements.lock anew: every package of the project and of its development,
# with hashes, for each Python it supports, and without the address of an index.
# `make lock` calls it; UPGRADE=1 moves to the newest versions. Where the packages are
# fetched from is up to the environment (UV_DEFAULT_INDEX, UV_INDEX, UV_FIND_LINKS).
set -eu
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/python" -m pip install -qq --disable-pip-version-check 'uv>=0.9'

echo "lock: resolving for every supported Python"
"$tools/bin/uv" pip compile --quiet ${UPGRADE:+--upgrade} \
  --universal --fork-strategy requires-python --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
  --group dev pyproject.toml --output-file requirements.lock
if grep -n '://' requirements.lock; then
  echo "lock: requirements.lock names an address; see the lines above" >&2
  exit 1
fi
