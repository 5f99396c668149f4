"""One save per pack: every bit comes back, and a kill costs one save at most."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.errors import UserError
from rnnjax.store import atomic, checkpoint
from rnnjax.store.checkpoint import PackCheckpoint
from rnnjax.store.leases import Overtaken
from rnnjax.store.manifest import Damaged


MEMBERS = ("aaaaaaaaaaaa", "bbbbbbbbbbbb")
BITS = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 1, 0x7F800000, 0x3F800000], "u4")


def state_of(tag: int) -> dict[str, Any]:
    params = {"kernel": jnp.full((2, 3), tag, jnp.float32), "none": None}
    return {
        "params": params,
        "optimizer": optax.adam(1e-3).init({"kernel": params["kernel"]}),
        "floats": BITS.view(np.float32) if tag else np.ones(6, np.float32),
        "complex": BITS.view(np.complex64),
        "key": jnp.asarray(BITS),
        "count": np.array([-1, 2**31 - 1], np.int32) - tag,
        "alive": np.array([True, False]),
        "empty": np.zeros((2, 0), np.float32),
        "scalar": np.float32(tag / 3),
    }


def parts_of(start: int, stop: int) -> dict[str, dict[str, np.ndarray]]:
    steps = np.arange(start, stop, dtype=np.int32)
    loss = (steps[:, None] * [1.0, np.nan]).astype(np.float32)
    return {"metrics": {"step": steps, "loss": loss}, "probes-h": {"step": steps * 2}}


def assert_bits(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def assert_holds(folder: Path, tag: int) -> None:
    restored = PackCheckpoint(folder, MEMBERS).restore(state_of(0))
    assert restored is not None and restored.tag == tag
    assert_bits(restored.state, state_of(tag))
    assert_bits(restored.parts, parts_of(0, tag))
    assert PackCheckpoint(folder).members() == MEMBERS


def test_nothing_saved_yet(tmp_path: Path):
    pack = PackCheckpoint(tmp_path / "pack", MEMBERS)
    assert pack.restore(state_of(0)) is None and pack.members() == ()
    pack.clear()


def test_every_bit_comes_back_and_only_the_last_step_stays(tmp_path: Path):
    pack = PackCheckpoint(tmp_path, MEMBERS)
    for start, stop in [(0, 3), (3, 5), (5, 5 + 2)]:
        pack.save(stop, state_of(stop), parts_of(start, stop))
        assert_holds(tmp_path, stop)
    assert sorted(os.listdir(tmp_path)) == [
        "commit.json",
        *sorted(
            f"part-{t}-{n}.npz" for t in (3, 5, 7) for n in ("metrics", "probes-h")
        ),
        "step-7",
    ]
    shape = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, state_of(0)))
    restored = PackCheckpoint(tmp_path).restore(shape)
    assert restored and restored.state["scalar"] == np.float32(7 / 3)
    pack.clear()
    assert not tmp_path.exists()


def test_a_history_may_begin_late_or_rest(tmp_path: Path):
    pack = PackCheckpoint(tmp_path)
    pack.save(1, state_of(1))
    pack.save(2, state_of(2), {"late": {"x": np.zeros((0, 2), np.float32)}})
    pack.save(3, state_of(3), {"late": {"x": np.ones((3, 2), np.float32)}})
    pack.save(4, state_of(4))
    restored = pack.restore(state_of(0))
    assert restored is not None
    assert_bits(restored.parts, {"late": {"x": np.ones((3, 2), np.float32)}})


class Killed(BaseException):
    """Stands for a signal that no handler sees."""


def at_rename(name: str, *, after: bool) -> Callable[[pytest.MonkeyPatch], None]:
    def arm(patch: pytest.MonkeyPatch) -> None:
        real = os.replace

        def replace(source: Path, target: Path) -> None:
            hit = Path(target).name == name
            if hit and not after:
                raise Killed
            real(source, target)
            if hit:
                raise Killed

        patch.setattr(atomic.os, "replace", replace)

    return arm


def in_orbax(*, after: bool) -> Callable[[pytest.MonkeyPatch], None]:
    def arm(patch: pytest.MonkeyPatch) -> None:
        real = checkpoint.save_step

        def save(folder: Path, leaves: dict[str, np.ndarray]) -> None:
            if after:
                real(folder, leaves)
            else:
                torn = folder.with_name(f"{folder.name}.orbax-checkpoint-tmp")
                real(torn, leaves)
            raise Killed

        patch.setattr(checkpoint, "save_step", save)

    return arm


def half_a_step(patch: pytest.MonkeyPatch) -> None:
    def save(folder: Path, leaves: dict[str, np.ndarray]) -> None:
        folder.mkdir()
        (folder / "manifest.ocdbt").write_bytes(b"torn")
        raise Killed

    patch.setattr(checkpoint, "save_step", save)


def while_pruning(patch: pytest.MonkeyPatch) -> None:
    def remove(path: Path, ignore_errors: bool = False) -> None:
        raise Killed

    patch.setattr(checkpoint.shutil, "rmtree", remove)


POINTS = {
    "orbax, before its rename": (in_orbax(after=False), 3),
    "orbax, a torn folder": (half_a_step, 3),
    "orbax, done": (in_orbax(after=True), 3),
    "first part, before": (at_rename("part-5-metrics.npz", after=False), 3),
    "first part, after": (at_rename("part-5-metrics.npz", after=True), 3),
    "second part, before": (at_rename("part-5-probes-h.npz", after=False), 3),
    "second part, after": (at_rename("part-5-probes-h.npz", after=True), 3),
    "commit, before": (at_rename("commit.json", after=False), 3),
    "commit, after": (at_rename("commit.json", after=True), 5),
    "older steps, not yet removed": (while_pruning, 5),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_between_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
):
    arm, expected = POINTS[point]
    pack = PackCheckpoint(tmp_path, MEMBERS)
    pack.save(3, state_of(3), parts_of(0, 3))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        arm(patch)
        pack.save(5, state_of(5), parts_of(3, 5))
    assert_holds(tmp_path, expected)
    # The run goes on: the same save again if it was lost, then the next one.
    again = PackCheckpoint(tmp_path, MEMBERS)
    if expected == 3:
        again.save(5, state_of(5), parts_of(3, 5))
    assert_holds(tmp_path, 5)
    again.save(6, state_of(6), parts_of(5, 6))
    assert_holds(tmp_path, 6)
    assert [name for name in os.listdir(tmp_path) if "step" in name] == ["step-6"]
    assert not [name for name in os.listdir(tmp_path) if "tmp" in name]


def test_killed_in_the_first_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        at_rename("commit.json", after=False)(patch)
        PackCheckpoint(tmp_path, MEMBERS).save(3, state_of(3), parts_of(0, 3))
    assert PackCheckpoint(tmp_path, MEMBERS).restore(state_of(0)) is None
    PackCheckpoint(tmp_path, MEMBERS).save(3, state_of(3), parts_of(0, 3))
    assert_holds(tmp_path, 3)


def test_other_runs_and_other_programs(tmp_path: Path):
    PackCheckpoint(tmp_path, MEMBERS).save(3, state_of(3))
    with pytest.raises(UserError, match="belongs to other runs"):
        PackCheckpoint(tmp_path, MEMBERS[::-1]).restore(state_of(0))
    state = state_of(0)
    others = {
        "alive": state | {"alive": np.array([1, 0])},
        "count": state | {"count": np.zeros(3, np.int32)},
        "new": state | {"new": np.zeros(3)},
        "scalar": {key: leaf for key, leaf in state.items() if key != "scalar"},
    }
    for key, template in others.items():
        with pytest.raises(UserError, match=f"another program.*{key}"):
            PackCheckpoint(tmp_path, MEMBERS).restore(template)


def test_saves_that_are_refused(tmp_path: Path):
    pack = PackCheckpoint(tmp_path / "pack", MEMBERS)
    pack.save(3, state_of(3))
    with pytest.raises(ValueError, match="cannot save 3 after save 3"):
        pack.save(3, state_of(3))
    with pytest.raises(ValueError, match="file name"):
        pack.save(4, state_of(4), {"a/b": {}})
    with pytest.raises(TypeError):
        pack.save(4, {"key": jax.random.key(0)})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file"):
        PackCheckpoint(tmp_path / "file").save(1, state_of(1))
    restored = pack.restore(state_of(0))
    assert restored is not None and restored.tag == 3


ROOT = Path(__file__).parents[1]

FAILING = """
import errno, sys
from pathlib import Path
import numpy as np
from rnnjax.errors import UserError
from rnnjax.store.checkpoint import PackCheckpoint

folder, name = Path(sys.argv[1]), sys.argv[2]

def full(event, arguments):
    if event == "open" and Path(str(arguments[0])).name == name and arguments[2] & 1:
        raise OSError(errno.ENOSPC, "No space left on device")

sys.addaudithook(full)
try:
    PackCheckpoint(folder, ["a"]).save(1, {"w": np.ones(3)}, {})
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["_METADATA", "_CHECKPOINT_METADATA"])
def test_a_full_disk_is_one_sentence_and_no_traceback(tmp_path: Path, name: str):
    """Whichever thread of Orbax meets it."""
    words = [sys.executable, "-c", FAILING, str(tmp_path / "pack"), name]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert "cannot write" in done.stdout and "No space left" in done.stdout, done
    assert done.stderr == ""


@pytest.mark.parametrize("begun", [0, 3])
def test_a_save_that_another_process_made_meanwhile(tmp_path: Path, begun: int):
    """A history is saved piece by piece, so nobody adds to another one's pieces."""
    if begun:
        PackCheckpoint(tmp_path, MEMBERS).save(3, state_of(3), parts_of(0, 3))
    stopped, next_one = (PackCheckpoint(tmp_path, MEMBERS) for _ in range(2))
    for pack in (stopped, next_one):
        pack.restore(state_of(0))
    stopped.save(5, state_of(5), parts_of(begun, 5))
    for tag in (5, 6):
        with pytest.raises(Overtaken):
            next_one.save(tag, state_of(tag), parts_of(begun, tag))
    assert_holds(tmp_path, 5)
    next_one.restore(state_of(0))
    next_one.save(6, state_of(6), parts_of(5, 6))
    assert_holds(tmp_path, 6)


@pytest.mark.parametrize("at", [1, 2])
def test_a_process_overtaken_during_a_save_commits_nothing(tmp_path: Path, at: int):
    """Suspended while it saved; by now, the next process is saving there."""
    own = tmp_path / "packs" / "pack"
    PackCheckpoint(own, MEMBERS).save(3, state_of(3), parts_of(0, 3))
    suspended, calls = PackCheckpoint(own, MEMBERS), []
    suspended.restore(state_of(0))

    def next_one_saves() -> None:
        (own / "step-7").mkdir()
        (own / "part-7-metrics.npz").write_bytes(b"of the next process")

    def check() -> None:
        calls.append(1)
        if len(calls) == at:
            if at > 1:
                next_one_saves()
            raise Overtaken

    if at == 1:
        next_one_saves()
    with pytest.raises(Overtaken):
        suspended.save(5, state_of(5), parts_of(3, 5), check=check)
    assert (own / "step-7").is_dir() and (own / "part-7-metrics.npz").is_file()
    assert_holds(own, 3)


def test_what_others_put_there_stays(tmp_path: Path):
    own = tmp_path / "packs" / "pack"
    PackCheckpoint(own, MEMBERS).save(1, state_of(1), parts_of(0, 1))
    (own / "thesis.tex").write_text("years")
    PackCheckpoint(own, MEMBERS).save(2, state_of(2), parts_of(1, 2))
    assert (own / "thesis.tex").exists() and not (own / "step-1").exists()
    PackCheckpoint(own, MEMBERS).clear()
    assert [file.name for file in own.iterdir()] == ["thesis.tex"]


def test_a_link_is_no_checkpoint(tmp_path: Path):
    """Nothing is read, written or removed where it leads to."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "step-notes").write_text("years")
    link = tmp_path / "pack"
    link.symlink_to(theirs)
    checkpoint = PackCheckpoint(link, MEMBERS)
    for use in (checkpoint.members, lambda: checkpoint.save(1, state_of(1))):
        with pytest.raises(Damaged, match="is a link"):
            use()
    checkpoint.clear()
    assert [file.name for file in theirs.iterdir()] == ["step-notes"]
