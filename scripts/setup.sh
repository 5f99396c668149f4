#!/bin/sh
# Prepare .venv: the locked packages with their hashes, then this checkout, editable.
# `make setup` calls it; PYTHON names an interpreter of one's own choice.
set -eu
cd "$(dirname "$0")/.."

suits() { # exists, runs, and is new enough
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
  else
    set -- python3 python3.14 python3.13 python3.12 python3.11
  fi
  for name in "$@"; do
    if suits "$name"; then
      echo "$name"
      return
    fi
  done
  echo "setup: no ${PYTHON:-python3} of version 3.11 or newer was found;" \
    "install one, or name one: make setup PYTHON=/path/to/python3.12" >&2
  return 1
}

venv=.venv
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  python=$(find_python)
  echo "setup: creating $venv with $("$python" --version)"
  if ! "$python" -m venv --clear "$venv"; then
    rm -rf "$venv"
    echo "setup: '$python -m venv' failed; on Debian and Ubuntu it comes with the" \
      "package python3-venv, or name another interpreter: make setup PYTHON=…" >&2
    exit 1
  fi
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check -qq "$@"; }

echo "setup: installing the locked packages (several minutes the first time)"
pip install --require-hashes -r requirements.lock
echo "setup: installing rnnjax, editable"
# The builder is among the locked packages, so nothing more is fetched.
pip install --no-deps --no-build-isolation -e .
