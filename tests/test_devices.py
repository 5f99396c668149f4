"""Compiled programs that outlive a process."""

import os
import subprocess
import sys
from pathlib import Path

from rnnjax.devices import mend_cache


CODE = """
import sys, jax
from rnnjax.devices import keep_programs
keep_programs()
print(jax.config.jax_compilation_cache_dir)
"""


def folder_of(**environment: str) -> str:
    plain = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPIL")}
    root = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=plain | root | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_programs_are_kept_in_a_folder_of_the_user_alone(tmp_path):
    found = Path(folder_of(XDG_CACHE_HOME=str(tmp_path)))
    assert found.parent == tmp_path / "rnnjax" and found.is_dir()
    assert found.stat().st_mode & 0o777 == 0o700
    own = {"JAX_COMPILATION_CACHE_DIR": "/else", "XDG_CACHE_HOME": str(tmp_path)}
    assert folder_of(**own) == "/else"
    (tmp_path / "file").touch()
    assert folder_of(XDG_CACHE_HOME=str(tmp_path / "file")) == "None"


def test_a_cache_that_lost_a_time_is_mended(tmp_path):
    for name in ("a-cache", "a-atime", "b-cache"):
        (tmp_path / name).write_bytes(b"12345678")
    mend_cache(tmp_path)
    assert (tmp_path / "a-atime").read_bytes() == b"12345678"
    assert len((tmp_path / "b-atime").read_bytes()) == 8
