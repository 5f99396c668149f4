"""What stands in the place of a pool's files and is none: named, not waited for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import rnnjax
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.paths import read_file
from rnnjax.store.checkpoint import PACKS
from rnnjax.store.pool import Pool
from rnnjax.store.sweep_record import SweepRecord, write_sweep
from tests.store_samples import store_run


PLACES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda file: file.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}
FILES = (
    *("index.jsonl", "sweeps/one/sweep.json", "packs/one/commit.json"),
    *(
        "run/manifest.json",
        "run/config.yaml",
        "run/metrics.parquet",
        "run/params.msgpack",
    ),
)
COMMANDS = (
    *("runs {pool}", "runs {pool}/sweeps/one", "compare {run} {run}", "fsck {pool}"),
    *("train -n out={pool}", "fsck {pool} --repair"),
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings(
    "ignore:left out of the pool", "ignore:.*is missing or damaged"
)
def test_each_file_of_a_pool(
    name: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = Pool(tmp_path / "pool")
    run = store_run(pool).path
    store_run(pool, seed=1)
    ids = tuple(each.manifest().run_id for each in pool.runs())
    record = SweepRecord("one", "train", "2026-01-01", ids, pool.path)
    write_sweep(pool.path / "sweeps" / "one", record)
    (pool.path / PACKS / "one").mkdir(parents=True)
    file = pool.path / name.replace("run/", f"{run.name}/")
    file.unlink(missing_ok=True)
    PLACES[place](file)
    for command in COMMANDS:
        words = command.format(pool=pool.path, run=run).split()
        assert main(words) in (0, 1, 2)
        assert "Traceback" not in capsys.readouterr().err
    for read in ("manifest", "config", "metrics", "params"):
        if name.startswith(f"run/{read}"):
            with pytest.raises(UserError, match="has no|no such|missing|cannot read"):
                getattr(rnnjax.open_run(run), read)


@pytest.mark.parametrize("place", PLACES)
def test_reading_says_what_it_is(place: str, tmp_path: Path) -> None:
    PLACES[place](tmp_path / "file")
    with pytest.raises(OSError, match="Not a regular file|Is a directory"):
        read_file(tmp_path / "file")
    (tmp_path / "other").write_bytes(b"all of it")
    assert read_file(tmp_path / "other") == b"all of it"
