"""Put faults into copies of the project, one at a time, and run the tests on each.

    python -m scripts.faults [NUMBER…] [--near]

`faults.toml` lists the faults. The tests run until the first that fails, those that
name the changed module first, so that most faults are caught within a minute; one that
is not caught takes as long as `make test`. With `--near` only the tests that name the
module or its package run. Prints a line for each fault; the exit status is 1 if one was
not caught.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[2]
COPIED = ["rnnjax", "tests", "conf", "experiments", "scripts", "hydra_plugins", "docs"]
ALSO = ["pyproject.toml", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "Makefile"]
CACHE = ROOT / "build" / "faults"
"""Compiled programs, shared by the copies."""


def main() -> int:
    """Try the faults; the exit status is 1 if one was not caught."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="from 1")
    parser.add_argument("--near", action="store_true", help="not the whole suite")
    given = parser.parse_args()
    faults = tomllib.loads((Path(__file__).parent / "faults.toml").read_text())["fault"]
    numbers = given.numbers or range(1, len(faults) + 1)
    missed = 0
    for number in numbers:
        fault = faults[number - 1]
        began = time.monotonic()
        by = caught(fault, given.near)
        missed += by is None
        took = f"{time.monotonic() - began:.0f} s"
        print(f"{number:2} {fault['file']}: {by or 'NOT CAUGHT'} ({took})", flush=True)
    print(f"{len(numbers) - missed} of {len(numbers)} caught")
    return int(missed > 0)


def caught(fault: dict[str, Any], near: bool) -> str | None:
    """The first test that fails with a fault, or None."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, ignore=unwanted)
        for name in ALSO:
            shutil.copy(ROOT / name, copy / name)
        put(fault, copy)
        tests = ordered(fault["file"], copy, near)
        done = subprocess.run(
            [
                *[sys.executable, "-m", "pytest", "-x", "-q", "-n", "2"],
                *["-o", f"cache_dir={CACHE}", *tests],
            ],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
        )
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode == 0:
        return None
    return failed[0] if failed else f"pytest ended with {done.returncode}"


def put(fault: dict[str, Any], copy: Path) -> None:
    """Change the file.

    Raises:
        ValueError: the code is no longer there, or there twice.
    """
    path = copy / fault["file"]
    for change in fault["change"]:
        text = path.read_text()
        if text.count(change["old"]) != 1:
            raise ValueError(f"{fault['file']} does not have once: {change['old']}")
        path.write_text(text.replace(change["old"], change["new"]))


def ordered(file: str, copy: Path, near: bool) -> list[str]:
    """Test files: those that name the module, then its package, then all others."""
    module = file.removesuffix(".py").replace("/", ".")
    package, stem = module.rsplit(".", 1)

    def distance(test: Path) -> int:
        text = test.read_text()
        if module in text or f"{package} import {stem}" in text:
            return 0
        area = module.split(".")[1]
        return 1 if package in text or area in test.stem else 2

    tests = sorted((copy / "tests").glob("test_*.py"))
    tests = [test for test in tests if not near or distance(test) < 2]
    return [str(test) for test in sorted(tests, key=distance)]


if __name__ == "__main__":
    sys.exit(main())
