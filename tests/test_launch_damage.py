"""One damaged run, checkpoint or line of the index costs itself and nothing else."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnjax.errors import UserError
from rnnjax.report import build
from rnnjax.results import load
from rnnjax.run import open_run
from rnnjax.store import atomic
from rnnjax.store.index import INDEX
from rnnjax.store.leases import LEASES
from rnnjax.store.manifest import Damaged
from rnnjax.store.quarantine import QUARANTINE
from rnnjax.store.writing import begin_run
from rnnjax.sweeps.packing import PACKS
from tests import launch_samples
from tests.launch_samples import Witness, contents, start


def jobs(*overrides: str, **options: Any) -> Any:
    """Jobs whose best parameters are not the last ones, so that both are stored."""
    return launch_samples.jobs("eval.every=3", *overrides, **options)


# what the user is told, which most of these tests do not read
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is missing or damaged", "ignore:left out"
)

Damage = Callable[[Path, Path], object]
"""Of a pool, and the folder of one of its runs."""


def file(name: str, content: bytes) -> Damage:
    return lambda pool, run: (run / name).write_bytes(content)


def without(name: str) -> Damage:
    return lambda pool, run: (run / name).unlink()


def flipped(name: str) -> Damage:
    def flip(pool: Path, run: Path) -> None:
        content = (run / name).read_bytes()
        half = len(content) // 2
        changed = bytes([content[half] ^ 1])
        (run / name).write_bytes(content[:half] + changed + content[half + 1 :])

    return flip


def without_index(damage: Damage) -> Damage:
    def both(pool: Path, run: Path) -> None:
        damage(pool, run)
        (pool / INDEX).unlink()

    return both


TYPES = b'{"run_id": 3, "schema": 4, "name": 1, "status": "done", "environment": 3}'

RESULTS = ("metrics.parquet", "params.msgpack", "best.msgpack", "state.msgpack")

RECORDS = {
    "manifest empty": file("manifest.json", b""),
    "manifest torn": file("manifest.json", b'{"run_id": "a'),
    "manifest of other types": file("manifest.json", TYPES),
    "manifest empty, no index": without_index(file("manifest.json", b"")),
    "configuration empty": file("config.yaml", b""),
    "configuration torn": file("config.yaml", b"cell: {name: [el"),
    "configuration binary": without_index(file("config.yaml", b"\x00\xff\xfe")),
    "manifest nested": file("manifest.json", b"[" * 100_000),
    **{
        f"{name} {how}": damage(name)
        for how, damage in (("gone", without), ("flipped", flipped))
        for name in ("manifest.json", "config.yaml", *RESULTS)
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pool = tmp_path_factory.mktemp("damage") / "pool"
    assert start(pool, jobs("seed=0,1")).failed == 0
    return pool


@pytest.fixture
def pool(trained: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "pool"
    shutil.copytree(trained, copy)
    return copy


def params(pool: Path) -> dict[str, bytes]:
    return {f.parent.name: f.read_bytes() for f in pool.glob("*/params.msgpack")}


@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_record_is_named_set_aside_and_computed_again(pool, name):
    before = params(pool)
    run = pool / sorted(before)[0]
    RECORDS[name](pool, run)
    witness = Witness()
    result = start(pool, jobs("seed=0,1"), witness)
    assert (result.computed, result.failed) == (1, 0)
    assert params(pool) == before  # the same bits
    (said,) = [text for text in witness.warnings if QUARANTINE in text]
    assert str(run) in said and (pool / QUARANTINE / run.name).is_dir()
    # a second one of that name finds a place, too
    file("manifest.json", b"")(pool, run)
    start(pool, jobs("seed=0,1"), Witness())
    assert (pool / QUARANTINE / f"{run.name}.2").is_dir()


@pytest.mark.filterwarnings("ignore:left out of the pool")
def test_a_report_names_the_damaged_run_and_shows_the_others(pool):
    run = pool / sorted(params(pool))[0]
    file("manifest.json", b"")(pool, run)
    with pytest.warns(UserWarning, match=f"left out of the report: .{run}"):
        page = build(pool)
    assert "1 damaged run is left out of every number here" in page.read_text()
    other = pool / sorted(params(pool))[1]
    (other / "metrics.parquet").unlink()
    with pytest.raises(UserError, match="^no run is whole; '.*"):
        build(pool)


CHECKPOINTS = {
    "empty": b"",
    "torn": b'{"tag": 3, "mem',
    "of other types": b"[1, 2]",
    "without parts": b'{"tag": 3}',
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_damaged_checkpoint_is_set_aside(pool, name):
    folder = pool / PACKS / "abc"
    folder.mkdir(parents=True)
    (folder / "commit.json").write_bytes(CHECKPOINTS[name])
    witness = Witness()
    assert start(pool, jobs("seed=0,1,2"), witness).computed == 1
    (said,) = witness.warnings
    assert str(folder) in said and (pool / QUARANTINE / "abc").is_dir()


def test_a_stray_file_among_the_checkpoints_is_left_alone(pool):
    (pool / PACKS).mkdir(exist_ok=True)
    (pool / PACKS / "notes.txt").write_text("mine")
    witness = Witness()
    assert start(pool, jobs("seed=0,1,2"), witness).computed == 1
    assert witness.warnings == [] and (pool / PACKS / "notes.txt").is_file()


LINES = [
    b'{"run_id": 5, "lineage": 1, "folder": 3, "facts": 1, "config": 2, '
    b'"results": 3, "schema": 4}',
    b'{"run_id": "z", "lineage": "a", "folder": "q", "facts": [], "config": [], '
    b'"results": [], "schema": 4}',
    b"7",
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_index_with_other_types_is_passed_over(pool, line):
    with open(pool / INDEX, "ab") as index:
        index.write(line + b"\n")
    witness = Witness()
    result = start(pool, jobs("seed=0,1"), witness)
    assert (result.computed, len(result.runs)) == (0, 2) and witness.warnings == []


@pytest.mark.parametrize("name", ["metrics.parquet", "params.msgpack", "best.msgpack"])
@pytest.mark.parametrize("damage", [without, flipped])
def test_a_damaged_file_is_an_error_that_names_it(pool, name, damage):
    """It is not read, not passed over, and nothing else is read in its place."""
    run = pool / sorted(params(pool))[0]
    damage(name)(pool, run)
    opened = open_run(run)
    readers = {
        "metrics.parquet": lambda: opened.metrics,
        "params.msgpack": lambda: opened.params,
        "best.msgpack": lambda: opened.best_params,
    }
    with pytest.raises(Damaged, match=f"'{run / name}' (was changed|is missing)"):
        readers[name]()


@pytest.mark.parametrize("damage", [without, flipped])
def test_a_pool_is_read_without_its_damaged_run_and_says_so(pool, damage):
    run = pool / sorted(params(pool))[0]
    damage("metrics.parquet")(pool, run)
    with pytest.warns(UserWarning, match=f"left out: '{run}/metrics.parquet' (is|was)"):
        table = load(pool).metrics()
    assert table["run_id"].n_unique() == 1


def saved(pool: Path) -> Path:
    """The checkpoint of a pack that was interrupted after it was saved."""
    with pytest.raises(KeyboardInterrupt):
        start(pool, jobs("seed=2,3"), Witness(interrupt_at=4))
    (folder,) = (pool / PACKS).iterdir()
    return folder


@pytest.mark.parametrize("part", ["step-*/**/*", "part-*-rows.npz", "part-*"])
@pytest.mark.parametrize("how", ["flipped", "torn", "gone"])
def test_a_pack_with_a_damaged_checkpoint_begins_again(pool, tmp_path, part, how):
    whole = tmp_path / "whole"
    folder = saved(pool)
    files = [file for file in sorted(folder.glob(part)) if file.is_file()]
    chosen = max(files, key=lambda file: file.stat().st_size)
    if how == "torn":
        chosen.write_bytes(chosen.read_bytes()[:-9])
    else:
        damage = without if how == "gone" else flipped
        damage(chosen.name)(pool, chosen.parent)
    witness = Witness()
    result = start(pool, jobs("seed=2,3"), witness)
    assert (result.computed, result.failed) == (2, 0)
    (said,) = witness.warnings
    assert str(chosen) in said and (pool / QUARANTINE / folder.name).is_dir()
    start(whole, jobs("seed=2,3"))
    assert params(whole).items() <= params(pool).items()


# -- a result that is there stays there ----------------------------------------------


def remade(pool: Path, witness: Witness | None = None) -> None:
    """Ask the finished runs for probes that they do not hold."""
    start(pool, jobs("seed=0,1", probe="light"), witness)


def sealed(pool: Path) -> dict[str, bytes]:
    files = contents(pool).items()
    return {name: content for name, (content, _) in files if ".hydra" not in name}


@pytest.mark.parametrize("moment", [0, 2, 4])
def test_interrupted_while_a_finished_run_is_made_again(pool, moment):
    before = sealed(pool)
    with pytest.raises(KeyboardInterrupt):
        remade(pool, Witness(interrupt_at=moment))
    assert sealed(pool) == before
    assert set(load(pool).runs["status"]) == {"done"}
    remade(pool)
    assert all(run.probes().sizes["train_step"] for run in start_again(pool))


def start_again(pool: Path):
    return start(pool, jobs("seed=0,1", probe="light")).runs


def test_an_error_while_a_finished_run_is_made_again(pool, monkeypatch):
    before, witness = sealed(pool), Witness()
    monkeypatch.setattr("rnnjax.training.loop.PackTraining.run", fail)
    remade(pool, witness)
    assert witness.warnings == ["2 runs failed: RuntimeError: no luck"]
    assert sealed(pool) == before
    assert set(load(pool).runs["status"]) == {"done"}


def fail(*arguments: object) -> None:
    raise RuntimeError("no luck")


@pytest.mark.parametrize("name", ["metrics.parquet", "probes.nc", "manifest.json"])
def test_a_full_disk_while_a_finished_run_is_made_again(pool, name, monkeypatch):
    before, witness = sealed(pool), Witness()
    real = os.replace

    def full(source: Path, target: Path) -> None:
        done = target.name == "manifest.json" and b'"status": "done"'
        if target.name == name and (not done or done in Path(source).read_bytes()):
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "replace", full)
        remade(pool, witness)
    (said,) = witness.warnings
    assert "2 runs failed" in said and "No space left" in said
    assert sealed(pool) == before


# -- names and leases ------------------------------------------------------------------


def test_a_folder_that_was_renamed_is_still_the_run(pool):
    (old, *_) = sorted(params(pool))
    for name in ("my best run", f"other-{old.rpartition('-')[2]}"):
        (pool / old).rename(pool / name)
        old = name
        assert len(load(pool).runs) == 2
        result = start(pool, jobs("seed=0,1"))
        assert result.computed == 0 and pool / name in {r.path for r in result.runs}
    remade(pool)
    assert (
        sorted(params(pool)) == sorted({*params(pool), old}) and len(params(pool)) == 2
    )


def test_a_run_that_another_process_made_under_another_name(pool, monkeypatch):
    """Both planned it; the second finds it when the lease is its own."""
    from rnnjax.sweeps import worker

    real = worker.Worker.packs

    def meanwhile(self, *arguments):
        monkeypatch.setattr(worker.Worker, "packs", real)
        start(pool, jobs("seed=2", "name=first"))
        return real(self, *arguments)

    monkeypatch.setattr(worker.Worker, "packs", meanwhile)
    start(pool, jobs("seed=2", "name=second"))
    assert len(params(pool)) == 3


def overtake(pool: Path) -> None:
    """What another process does once this one has been silent for too long."""
    for folder in (pool / LEASES).iterdir():
        if folder.is_dir():
            generation = 1 + max(int(file.name) for file in folder.iterdir())
            (folder / str(generation)).write_text("1 elsewhere\n")


class Overtaken(Witness):
    """Loses its leases at an advance, and gets them back a while later."""

    def __init__(self, pool: Path, at: int, fails: bool = False) -> None:
        super().__init__()
        self.pool, self.at, self.fails, self.said = pool, at, fails, []

    def advance(self, updates: int, runs_ended: int) -> None:
        super().advance(updates, runs_ended)
        if len(self.advances) == self.at:
            overtake(self.pool)
            if self.fails:
                raise RuntimeError("no luck")

    def say(self, message: str) -> None:
        self.said.append(message)
        self.before = contents(self.pool)
        for folder in (self.pool / LEASES).iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("at", [1, 3, 7])
def test_a_process_that_was_overtaken_writes_nothing_and_waits(pool, at, fails):
    """Whatever it was at: saving, sealing, or closing after an error of its own."""
    witness = Overtaken(pool, at, fails)
    result = start(pool, jobs("seed=2,3", "steps=24"), witness)
    assert result.failed == 0 and witness.warnings == []
    assert witness.said == ["waiting for 2 runs of process 1 on elsewhere"]
    seen = [name for name in witness.before if "failed" in name or "params" in name]
    assert len(seen) == 2  # those of the pool: nothing was sealed meanwhile
    assert len(params(pool)) == 4


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_another_process_sealed_at_the_last_moment(pool, monkeypatch, fails):
    """Between the last look at the lease and the seal; its result is the run's."""
    from rnnjax.sweeps import pack_run

    real = pack_run.seal

    def seal(run, manifest, planned, *others):
        monkeypatch.setattr(pack_run, "seal", real)
        other = manifest.replace(created="2999-01-01")
        begin_run(run.path, planned.stored, other)
        real(run, other, planned, *others)
        if fails:
            raise RuntimeError("no luck")
        return real(run, manifest, planned, *others)

    monkeypatch.setattr(pack_run, "seal", seal)
    witness = Witness()
    result = start(pool, jobs("seed=2"), witness)
    assert (result.failed, witness.warnings) == (0, [])
    assert len(params(pool)) == 3 and set(load(pool).runs["status"]) == {"done"}
