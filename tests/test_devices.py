"""The folder of compiled programs, and what a process may use of the machine."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from rnnjax import devices
from rnnjax.executables.folder import make_private
from rnnjax.store import environment
from rnnjax.store.environment import processor
from rnnjax.training import rehearsal


CODE = """
from rnnjax.executables import folder
folder.keep_programs()
print(folder.current())
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
    assert folder_of(**own) == "None"


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


COMPUTE = """
import resource, sys, jax, jax.numpy as jnp
from rnnjax.executables.folder import keep_programs
from rnnjax.executables.functions import kept_jit
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
early, late = sys.argv[1:]
if early: limit(int(early))
keep_programs()
if late: limit(int(late))
print(kept_jit(lambda x: (x @ x).sum())(jnp.ones((8, 8))))
"""


def computed(cache: Path, early: int | None = None, late: int | None = None) -> str:
    """What is said while a program is compiled, with files of at most so many bytes."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPIL")}
    root = {"PYTHONPATH": str(Path(__file__).parents[1]), "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", COMPUTE, str(early or ""), str(late or "")],
        env=plain | root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "512.0\n"
    return done.stderr


def test_a_full_disk_costs_the_cache_and_one_warning(tmp_path):
    said = computed(tmp_path, early=5000)
    assert said.count("Warning") == 1, said
    assert "cannot keep compiled programs" in said and "File too large" in said
    assert not programs(tmp_path)


def test_a_disk_that_fills_meanwhile_leaves_nothing_torn(tmp_path):
    assert computed(tmp_path, late=100) == ""
    assert not programs(tmp_path)
    assert computed(tmp_path) == ""
    assert len(programs(tmp_path)) == 1


def programs(cache: Path) -> list[Path]:
    """Every file of a folder of programs but the one about sources."""
    files = (file for file in cache.rglob("*") if file.is_file())
    return [file for file in files if file.name != "sources.json"]


@pytest.mark.parametrize("place", ["file", "loop", "x" * 300])
def test_no_folder_for_programs(place, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    said = computed(tmp_path / place)
    assert said.count("Warning") == 1 and "cannot keep compiled programs" in said


def test_without_what_linux_alone_has(tmp_path, monkeypatch):
    """No `/proc`, no affinity: all cores, an architecture, unbounded memory."""
    elsewhere = lambda name: tmp_path / name.removeprefix("/")
    monkeypatch.setattr(devices, "Path", elsewhere)
    monkeypatch.setattr(environment, "Path", elsewhere)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    asked = []
    monkeypatch.setattr(devices, "use_devices", asked.append)
    monkeypatch.setattr(devices, "keep_programs", lambda: None)
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    devices.use_every_core()
    assert asked == [os.cpu_count()]
    assert len(processor.__wrapped__()) == 8
    assert rehearsal.free_memory(Mesh(np.array(jax.devices()), ("runs",))) > 0
