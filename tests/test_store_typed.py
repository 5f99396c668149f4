"""Records whose seal is right and whose fields are not: damage, by the field's name."""

import gc
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import flax.serialization
import numpy as np
import pytest

import rnnjax
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.store import sealed_json
from rnnjax.store.checkpoint import PACKS, PackCheckpoint
from rnnjax.store.index import INDEX, read_index
from rnnjax.store.manifest import Damaged
from rnnjax.store.netcdf import dataset_of
from rnnjax.store.pool import Pool
from rnnjax.store.sweep_record import SweepRecord, read_sweep, write_sweep
from scripts.soak.mutations import forge
from tests.store_samples import store_run


ODD: tuple[Any, ...] = (None, 3, "text", [1], {"a": {"b": []}}, True, float("nan"))


def reseal(file: Path, change: dict[str, Any]) -> None:
    """Replace fields of a record and seal it anew, as a forger would."""
    record = sealed_json.opened(file.read_bytes())
    file.write_text(sealed_json.sealed({**record, **change}) + "\n")


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    pool = Pool(tmp_path / "pool")
    run = store_run(pool)
    manifest = run.path / "manifest.json"
    reseal(manifest, {})
    pool.rebuild()
    return pool


FIELDS = {
    "files": dict,
    "results": dict,
    "environment": dict,
    "name": str,
    "status": str,
    "steps": int,
    "digests": dict,
    "seeds": dict,
    "created": str,
    "run_id": str,
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.filterwarnings("ignore:left out of the pool")
def test_a_manifest(field: str, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    run = pool.runs()[0]
    (pool.path / INDEX).unlink()
    sound = (run.path / "manifest.json").read_bytes()
    for value in ODD:
        if type(value) is FIELDS[field] and field not in ("status", "seeds"):
            continue
        (run.path / "manifest.json").write_bytes(sound)
        reseal(run.path / "manifest.json", {field: value})
        with pytest.raises(Damaged, match="manifest.json': this is not a manifest"):
            rnnjax.open_run(run.path).manifest  # noqa: B018
        for command in ("runs", "fsck", "verify --all", "report"):
            assert main([*command.split(), str(pool.path)]) in (0, 1, 2)
            assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("field", ("facts", "config", "results", "folder", "lineage"))
def test_a_line_of_the_index(field: str, pool: Pool) -> None:
    """It counts as damaged, and the run is read from its directory."""
    index = pool.path / INDEX
    sound, row = index.read_bytes(), pool.rows()[0]
    for value in (None, 3, [1], "text" if field != "folder" else {}, {"name": 3}):
        if isinstance(value, dict) and field == "config":
            continue
        if isinstance(value, str) and field == "lineage":
            continue
        index.write_bytes(sound)
        reseal(index, {field: value})
        damaged = read_index(index).damaged
        assert damaged == (0 if field == "results" and value == {"name": 3} else 1)
        if damaged:
            assert pool.rows() == [row]


@pytest.mark.parametrize("field", ("runs", "pool", "groups", "name"))
def test_a_sweep(field: str, pool: Pool) -> None:
    folder = pool.path / "sweeps" / "one"
    write_sweep(folder, SweepRecord("one", "train", "2026-01-01", ("a",), pool.path))
    record = sealed_json.opened((folder / "sweep.json").read_bytes())
    for value in (None, 3, {"a": 3}, [[1]]):
        text = sealed_json.sealed({**record, field: value})
        (folder / "sweep.json").write_text(text + "\n")
        with pytest.raises(UserError, match="is not a valid sweep record"):
            read_sweep(folder)


@pytest.mark.parametrize("field", ("members", "tag", "parts", "files"))
def test_a_checkpoint(field: str, pool: Pool) -> None:
    checkpoint = PackCheckpoint(pool.path / PACKS / "one", ["a"])
    checkpoint.save(1, {"w": np.ones(2)}, {})
    for value in (None, 3.5, "text", [[1]], {"a": 1}):
        reseal(checkpoint.folder / "commit.json", {field: value})
        with pytest.raises(Damaged, match="commit.json"):
            PackCheckpoint(checkpoint.folder).check()


PARAMS = {
    "no tree": flax.serialization.msgpack_serialize([1, 2]),
    "more than a tree": flax.serialization.msgpack_serialize({"a": np.ones(2)}) + b"x",
    "half of one": flax.serialization.msgpack_serialize({"a": np.ones(200)})[:90],
    "an array of another shape": flax.serialization.msgpack_serialize(
        {"a": np.ones(2)}
    ).replace(b"\x91\x02", b"\x91\x07"),
    "nothing": b"",
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("case", PARAMS)
def test_parameters_with_the_right_digest(case: str, pool: Pool) -> None:
    run = pool.runs()[0].path
    (run / "params.msgpack").write_bytes(PARAMS[case])
    forge(run, "params.msgpack")
    with pytest.raises(Damaged, match="params.msgpack' cannot be read"):
        rnnjax.open_run(run).params  # noqa: B018


@pytest.mark.parametrize("name", ("loop", "sweeps", "packs/x", "leases"))
def test_a_link_that_leads_to_itself(
    name: str, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    (pool.path / name).parent.mkdir(exist_ok=True)
    (pool.path / name).symlink_to(Path(name).name)
    for command in ("runs", "fsck", "verify --all", "report"):
        assert main([*command.split(), str(pool.path)]) in (0, 1, 2)
        assert "Traceback" not in capsys.readouterr().err
    assert len(pool.runs()) == 1


def test_a_column_that_is_named_twice(pool: Pool, capsys: pytest.CaptureFixture[str]):
    for by in ("seed,seed", "cell,cell.name", "seed,cell,seed"):
        assert main(["runs", str(pool.path), "--by", by]) == 0
        assert "1 run" in capsys.readouterr().out


CONFIGS = ("init: 3", "model: {hidden: x}", "optimizer: {lr: []}", "cell: lstm", "a: 1")


@pytest.mark.parametrize("text", CONFIGS)
def test_a_configuration_with_the_right_digest(text: str, pool: Pool) -> None:
    run = pool.runs()[0].path
    (run / "config.yaml").write_text(text + "\n")
    forge(run, "config.yaml")
    opened = rnnjax.open_run(run)
    with pytest.raises(Damaged, match="config.yaml' is not the configuration of a run"):
        opened.config  # noqa: B018
    with pytest.raises(Damaged, match="manifest.json' does not describe a task"):
        opened.spec  # noqa: B018


@pytest.mark.parametrize(
    "words", ("fsck loop", "fsck a\0b", "runs {} --csv a\0", "runs {} --parquet loop/x")
)
def test_paths_that_nothing_can_have(
    words: str,
    pool: Pool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert main(words.format(pool.path).split(" ")) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_damaged_netcdf_is_one_error(pool: Pool) -> None:
    """Nothing more is printed when what was half-read is collected."""
    content = bytearray((pool.runs()[0].path / "probes.nc").read_bytes())
    for place in (8, 219):  # at others HDF5 itself may never end
        damaged = bytes(content[:place]) + bytes(40) + bytes(content[place + 40 :])
        with suppress(Exception):
            dataset_of(damaged)
    gc.collect()


COMMANDS = "runs", "fsck", "fsck --repair", "verify --all", "report"


def answer(pool: Pool, capsys: pytest.CaptureFixture[str]) -> str:
    """What the commands say of a pool: never a traceback, and they end."""
    said = ""
    for command in COMMANDS:
        assert main([*command.split(), str(pool.path)]) in (0, 1, 2)
        said += "".join(capsys.readouterr())
    assert "Traceback" not in said
    return said


def with_text(file: Path, change: dict[str, Any], text: str) -> None:
    """`reseal`, with a text in place of MARK that only JSON's escapes can hold."""
    reseal(file, change)
    body = file.read_text().replace("MARK", text).encode()[: -sealed_json._END - 1]
    file.write_bytes(body + sealed_json._end(body) + b"\n")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("text", [r"\ud800", r"\u0000", r"a\udfffb"])
@pytest.mark.parametrize(
    "change",
    [
        {"name": "MARK"},
        {"error": "MARK"},
        {"results": {"MARK": 1.0}},
        {"files": {"MARK": "00"}},
        {"files": {"../MARK": "00"}},
    ],
    ids=str,
)
def test_half_a_character_or_none_in_a_manifest(
    change: dict[str, Any], text: str, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    store_run(pool, seed=7)
    with_text(pool.runs()[0].path / "manifest.json", change, text)
    answer(pool, capsys)
    assert len(pool.runs()) >= 1


@pytest.mark.parametrize("text", [r"\ud800", r"\u0000", r"a\udfffb"])
@pytest.mark.parametrize("field", ["name", "command", "created", "pool"])
def test_half_a_character_or_none_in_a_sweep(
    field: str, text: str, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pool.path / "sweeps" / "one"
    runs = tuple(run.manifest().run_id for run in pool.runs())
    write_sweep(folder, SweepRecord("one", "train", "2026-01-01", runs, pool.path))
    with_text(folder / "sweep.json", {field: "MARK"}, text)
    assert main(["report", str(folder)]) in (0, 2)
    assert "Traceback" not in "".join(capsys.readouterr())
    answer(pool, capsys)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name",
    "manifest.json config.yaml metrics.parquet probes.nc params.msgpack "
    "../index.jsonl ../packs/one/commit.json ../sweeps/one/sweep.json".split(),
)
def test_a_file_that_is_larger_than_memory(
    name: str, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with holes in it costs nothing, and may lease any size."""
    file = pool.runs()[0].path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.truncate(file, 2**40)
    assert "too large for memory" in answer(pool, capsys)


def test_a_table_does_not_replace_a_record(
    pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [pool.path / INDEX, *(f for f in pool.runs()[0].path.iterdir())]
    before = [file.read_bytes() for file in records]
    for file in records:
        for kind in ("csv", "parquet"):
            assert main(["runs", str(pool.path), f"--{kind}", str(file)]) == 2
            assert "is a file that rnnjax itself reads" in capsys.readouterr().err
    assert [file.read_bytes() for file in records] == before
