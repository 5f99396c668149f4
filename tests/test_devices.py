"""Compiled programs that outlive a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnjax.devices import make_private, mend_cache


CODE = """
import sys, jax
from rnnjax.devices import keep_programs
keep_programs()
print(jax.config.jax_compilation_cache_dir)
"""


def folder_of(before: str = "", **environment: str) -> str:
    plain = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPIL")}
    root = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", before + CODE],
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


@pytest.mark.parametrize("planted", ["folder", "link", "target"])
def test_a_folder_of_somebody_else_is_not_made_private(tmp_path, monkeypatch, planted):
    """In a cache folder that is shared, whoever comes first makes the folders."""
    place, target = tmp_path / "rnnjax", tmp_path / "elsewhere"
    target.mkdir(mode=0o777)
    if planted == "folder":
        place.mkdir()
    else:
        place.symlink_to(target)

    def look(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = list(os.stat(path, follow_symlinks=follow_symlinks))
        found[4] += follow_symlinks == (planted == "target")
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", look)
    monkeypatch.setattr(Path, "lstat", lambda path: look(path, follow_symlinks=False))
    with pytest.raises(PermissionError, match="belongs to user"):
        make_private(place)


def test_without_a_folder_of_ones_own_no_program_is_kept(tmp_path):
    (tmp_path / "rnnjax").mkdir()
    somebody = "import os; os.getuid = lambda: 12345"
    assert folder_of(somebody, XDG_CACHE_HOME=str(tmp_path)) == "None"
    assert [*tmp_path.rglob("*")] == [tmp_path / "rnnjax"]


def test_a_cache_that_lost_a_time_is_mended(tmp_path):
    for name in ("a-cache", "a-atime", "b-cache"):
        (tmp_path / name).write_bytes(b"12345678")
    mend_cache(tmp_path)
    assert (tmp_path / "a-atime").read_bytes() == b"12345678"
    assert len((tmp_path / "b-atime").read_bytes()) == 8
