#!/bin/sh
# Prepare .venv-bench for `make bench`: the peers of the extra `bench` (PyTorch is some
# GB), on top of the locked packages of .venv, which are seen and not installed again.
set -eu
cd "$(dirname "$0")/.."

venv=.venv-bench
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  .venv/bin/python -m venv --clear "$venv"
fi
site='import sysconfig; print(sysconfig.get_path("purelib"))'
.venv/bin/python -c "$site" >"$("$venv/bin/python" -c "$site")/rnnjax-venv.pth"

echo "bench: installing PyTorch and torchrecurrent (several minutes the first time)"
.venv/bin/python - <<'END' | "$venv/bin/python" -m pip install -qq \
  --disable-pip-version-check -r /dev/stdin
import tomllib

with open("pyproject.toml", "rb") as file:
    print("\n".join(tomllib.load(file)["project"]["optional-dependencies"]["bench"]))
END
