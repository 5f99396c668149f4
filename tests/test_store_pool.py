"""The pool finds runs by run id; its index is a cache that mends itself."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.store import sealed_json
from rnnjax.store.index import FACTS, Row, append_row, read_index
from rnnjax.store.pool import Pool
from rnnjax.store.run_id import run_id_of
from rnnjax.store.rundir import RunDir
from rnnjax.store.sweep_record import SweepRecord, read_sweep, write_sweep
from rnnjax.store.table import series_of
from rnnjax.store.writing import begin_run, finish_run
from tests.store_samples import (
    config_of,
    files_of_at_most,
    manifest_of,
    metrics_of,
    store_run,
)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path / "pool")


def same_runs(a: pl.DataFrame, b: pl.DataFrame) -> bool:
    return a.sort("run_id").equals(b.sort("run_id").select(a.columns))


def append_many(index: Path, writer: int) -> None:
    config = {"x": "y" * 5000}
    facts = {name: getattr(manifest_of("ab"), name) for name in FACTS}
    for number in range(50):
        append_row(index, Row(f"{writer}-{number}", "l", "f", facts, config, {}))


def test_an_empty_pool(pool: Pool):
    assert pool.find("ab") is None and pool.runs() == [] and pool.index().is_empty()


def test_a_finished_run_counts_before_a_newer_one_that_was_interrupted(pool: Pool):
    done = store_run(pool)
    run_id = done.manifest().run_id
    later = {"created": "2026-02-01T00:00:00.000+00:00"}
    place = pool.path / f"again-{run_id}"
    started = manifest_of(run_id, **later)
    again = begin_run(place, config_of(), started)
    again = finish_run(again, started.replace(status="interrupted"))
    assert again.path == place and again.path != done.path
    assert pool.find(run_id) == done
    pool.rebuild()
    assert [run.path for run in pool.runs()] == [done.path]
    newest = manifest_of(run_id, created="2026-03-01T00:00:00.000+00:00")
    third = begin_run(pool.path / f"third-{run_id}", config_of(), newest)
    third = finish_run(third, newest.replace(status="done"), metrics_of())
    assert pool.find(run_id) == third
    pool.rebuild()
    assert [run.path for run in pool.runs()] == [third.path]


def test_find_and_index(pool: Pool):
    lstm, gru = store_run(pool), store_run(pool, "gru", 1, status="diverged")
    assert pool.runs() == [lstm, gru]
    assert pool.find(run_id_of(config_of("gru", 1), {})) == gru
    assert pool.find("ffffffffffff") is None
    table = pool.index()
    assert table.columns[:4] == ["run_id", "name", "status", "path"]
    assert table["status"].to_list() == ["done", "diverged"]
    assert table["path"].to_list() == [str(lstm.path), str(gru.path)]
    assert table["cell.name"].to_list() == ["lstm", "gru"]
    assert table["seed"].dtype == pl.Int64 and table["accuracy"].to_list() == [0.5, 0.6]
    assert table["steps"].to_list() == [0, 0]  # Done, by the manifest,
    assert table["config.steps"].to_list() == [20, 20]  # and asked for.
    assert table["source_digest"].unique().to_list() == ["0123456789ab"]


def test_the_later_row_of_a_run_counts(pool: Pool):
    run, other = store_run(pool), store_run(pool, seed=1)
    reopened = run.manifest().replace(results={"accuracy": 0.9})
    attempt = begin_run(run.path, run.config(), reopened)
    assert pool.index()["status"].to_list() == ["done", "done"]
    pool.add(finish_run(attempt, reopened.replace(status="done"), metrics_of()))
    row = pool.index().filter(pl.col("path") == str(run.path)).row(0, named=True)
    assert (row["status"], row["accuracy"]) == ("done", 0.9)
    assert len(pool.index()) == 2 and str(other.path) in pool.index()["path"]


def test_the_index_of_a_run_that_was_not_finished_is_not_asked(pool: Pool):
    begun = begin_run(pool.path / "sample-ab", config_of(), manifest_of("ab"))
    pool.add(begun)
    assert pool.index()["status"].to_list() == ["running"]
    finish_run(begun, manifest_of("ab", status="done", results={"accuracy": 0.9}))
    # Killed before the index heard of it: the directory is the truth.
    assert pool.index()["status"].to_list() == ["done"]
    index = pool.path / "index.jsonl"
    assert not read_index(index).rows["ab"].is_finished
    for _ in range(2):
        pool.mend()
        assert read_index(index).rows["ab"].is_finished
        assert len(index.read_bytes().splitlines()) == 2


@pytest.mark.parametrize("damage", ["lost", "torn", "noise", "no newline", "empty"])
def test_a_damaged_index_tells_the_same(pool: Pool, damage: str):
    for seed in range(3):
        store_run(pool, seed=seed)
    before, index = pool.index(), pool.path / "index.jsonl"
    content = index.read_bytes()
    if damage == "lost":
        index.unlink()
    else:
        index.write_bytes(
            {
                "torn": content[:-40],
                "noise": b"\xff\x00\n[1]\n{}\n7\n" + content,
                "no newline": content[:-1],
                "empty": b"",
            }[damage]
        )
    assert same_runs(before, pool.index())
    store_run(pool, seed=3)
    assert len(pool.index()) == 4
    lines = index.read_bytes().splitlines()
    assert lines[-1].startswith(b'{"run_id"')  # No line was glued to a torn one.
    assert bool(read_index(index).damaged) == (damage == "noise")
    pool.mend()
    assert not read_index(index).damaged and len(read_index(index).rows) == 4
    pool.rebuild()
    assert len(index.read_bytes().splitlines()) == 4
    assert same_runs(before, pool.index().filter(pl.col("seed") < 3))


def test_a_line_that_does_not_fit_leaves_nothing(pool: Pool):
    store_run(pool)
    index = pool.path / "index.jsonl"
    content = index.read_bytes()
    with files_of_at_most(len(content) + 99), pytest.raises(UserError, match="index"):
        append_row(index, Row("a", "b", "c", {}, {}, {}))
    assert index.read_bytes() == content


def test_a_pool_can_be_moved_and_runs_taken_out(pool: Pool, tmp_path: Path):
    gone, kept = store_run(pool), store_run(pool, seed=1)
    key = kept.manifest().run_id
    shutil.rmtree(gone.path)
    moved = Pool(tmp_path / "elsewhere")
    os.rename(pool.path, moved.path)
    assert moved.runs() == [RunDir(moved.path / kept.path.name)]
    assert moved.find(key) == moved.runs()[0]
    assert moved.find(run_id_of(config_of(), {})) is None


def test_other_folders_and_unreadable_runs(pool: Pool):
    run, bad = store_run(pool), store_run(pool, seed=1)
    (pool.path / "wandb").mkdir()
    (bad.path / "manifest.json").write_text("{")
    (pool.path / "index.jsonl").unlink()
    with pytest.warns(UserWarning, match="left out of the pool.*not a manifest"):
        assert pool.runs() == [run]


def test_runs_of_different_shape_share_a_table(pool: Pool):
    store_run(pool, config={"clip": None, "sizes": [8, 4], "accuracy": "top1"})
    store_run(pool, "gru", config={"clip": 1, "sizes": 8, "deep": {"er": {"x": 1.5}}})
    store_run(pool, "rnn", results={"loss": float("nan"), "solved": True})
    table = pool.index()
    assert table["clip"].to_list() == [None, 1, None]
    assert table["sizes"].to_list() == ["[8, 4]", "8", None]
    assert table["deep.er.x"].to_list() == [None, 1.5, None]
    assert table["accuracy"].to_list() == ["top1", None, None]
    assert table["result.accuracy"].to_list() == [0.5, 0.5, None]
    assert table["solved"].to_list() == [None, None, True]
    assert table["loss"].is_nan().to_list() == [None, None, True]


@settings(deadline=None)
@given(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text()))
@example([10**400, 0.5])
@example([2**53 + 1, 0.5])
def test_a_column_keeps_its_values(values: list):
    series = series_of("x", values)
    if series.dtype != pl.String and not (
        series.dtype == pl.Float64 and any(isinstance(v, int) for v in values)
    ):
        assert repr(series.to_list()) == repr(values)
    if series.dtype == pl.Float64:
        assert all(v == w or v != v for v, w in zip(values, series, strict=True))
    assert [v is None for v in series.to_list()] == [v is None for v in values]


def test_lines_of_several_writers_do_not_mix(tmp_path: Path):
    index = tmp_path / "index.jsonl"
    with ThreadPoolExecutor(4) as writers:  # Each line has a descriptor of its own.
        list(writers.map(partial(append_many, index), range(4)))
    assert len(read_index(index).rows) == 200
    assert len(index.read_bytes().splitlines()) == 200


def test_a_pool_of_another_format_is_refused(pool: Pool):
    """By its index, and without one by its runs; no run is left out in silence."""
    run = store_run(pool)
    index = pool.path / "index.jsonl"
    for file in (index, run.path / "manifest.json"):
        lines = file.read_text().splitlines() if file == index else [file.read_text()]
        records = [sealed_json.opened(line) for line in lines]
        for record in records:
            record["schema"] = 1
        file.write_text("\n".join(map(sealed_json.dumps, records)))
    with pytest.raises(UserError, match=r"index.jsonl': .* format 1, but .*out="):
        pool.rows()
    index.unlink()
    with pytest.raises(
        UserError, match=r"manifest.json': .* format 1, .*move the folder"
    ):
        pool.rows()


def test_folders_that_cannot_be_used(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot (read|write) '.*file"):
        Pool(tmp_path / "file").index()
    with pytest.raises(UserError, match="cannot (read|write) '.*file"):
        Pool(tmp_path / "file").rebuild()
    with pytest.raises(UserError, match="cannot write '.*index.jsonl'"):
        append_row(tmp_path / "none" / "index.jsonl", Row("a", "b", "c", {}, {}, {}))


def test_sweep_record_round_trip(tmp_path: Path):
    record = SweepRecord(
        name="first",
        command="rnnjax train -m seed=0,1",
        created="2026-01-01",
        runs=("ab", "cd"),
        pool=tmp_path / "runs" / "pool",
        groups={"lstm": ("ab",)},
    )
    file = write_sweep(tmp_path / "runs" / "sweep", record)
    assert '"pool": "../pool"' in file.read_text()
    assert read_sweep(file.parent) == record
    os.rename(tmp_path / "runs", tmp_path / "moved")
    assert read_sweep(tmp_path / "moved" / "sweep").pool == tmp_path / "moved" / "pool"


@pytest.mark.parametrize("text", [None, "", "[]", '{"name": "x"}', "\x00"])
def test_what_is_no_sweep(tmp_path: Path, text: str | None):
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UserError, match="sweep.json"):
        read_sweep(tmp_path)


def test_a_later_result_that_is_not_in_its_place_yet_is_the_one_shown(pool: Pool):
    """As `finish_run` leaves it when it is killed once the seal is written."""
    run = store_run(pool, results={"accuracy": 0.5})
    manifest = run.manifest()
    attempt = begin_run(run.path, run.config(), manifest)
    later = manifest.replace(results={"accuracy": 0.75})
    with monkeypatched_settle():
        finish_run(attempt, later, metrics_of())
    assert run.manifest().results == {"accuracy": 0.75}
    assert [row.results for row in pool.rows()] == [{"accuracy": 0.75}]


@contextmanager
def monkeypatched_settle() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnjax.store.writing.settle", lambda run: None)
        yield


@pytest.mark.parametrize("damage", ["lost", "torn", "flipped"])
def test_a_lost_manifest_is_named_where_its_run_is_shown(pool: Pool, damage: str):
    run = store_run(pool)
    file = run.path / "manifest.json"
    content = file.read_bytes()
    if damage == "lost":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(content[:99])
    else:
        file.write_bytes(content.replace(b"done", b"dome"))
    with pytest.warns(UserWarning, match="manifest.json' is missing or damaged"):
        assert len(pool.rows()) == 1
