"""One damaged run, checkpoint or line of the index costs itself and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnjax.report import build
from rnnjax.store.index import INDEX
from rnnjax.store.quarantine import QUARANTINE
from rnnjax.sweeps.packing import PACKS
from tests.launch_samples import Witness, jobs, start


Damage = Callable[[Path, Path], object]
"""Of a pool, and the folder of one of its runs."""


def file(name: str, content: bytes) -> Damage:
    return lambda pool, run: (run / name).write_bytes(content)


def without_index(damage: Damage) -> Damage:
    def both(pool: Path, run: Path) -> None:
        damage(pool, run)
        (pool / INDEX).unlink()

    return both


TYPES = b'{"identity": 3, "schema": 2, "name": 1, "status": "done", "environment": 3}'

RECORDS = {
    "manifest empty": file("manifest.json", b""),
    "manifest torn": file("manifest.json", b'{"identity": "a'),
    "manifest of other types": file("manifest.json", TYPES),
    "manifest empty, no index": without_index(file("manifest.json", b"")),
    "configuration empty": file("config.yaml", b""),
    "configuration torn": file("config.yaml", b"cell: {name: [el"),
    "configuration binary": without_index(file("config.yaml", b"\x00\xff\xfe")),
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
    assert "1 run" in page.read_text()


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
    b'{"identity": 5, "lineage": 1, "folder": 3, "facts": 1, "config": 2, '
    b'"results": 3, "schema": 2}',
    b'{"identity": "z", "lineage": "a", "folder": "q", "facts": [], "config": [], '
    b'"results": [], "schema": 2}',
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
