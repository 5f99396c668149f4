"""A run directory is finished when its manifest says so, and never half."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.store import atomic, rundir
from rnnjax.store.identity import file_digest
from rnnjax.store.rundir import RunDir, begin_run, finish_run
from tests.store_samples import config_of, manifest_of, metrics_of, probes_of


KEY = "0123456789ab"
DONE = manifest_of(KEY, status="done", finished="later", results={"loss": float("nan")})


def begun(pool: Path) -> RunDir:
    return begin_run(pool, "sample", KEY, config_of(), manifest_of(KEY))


def test_a_run_from_begin_to_end(tmp_path: Path):
    run = begun(tmp_path)
    assert run.path == tmp_path / f"sample-{KEY}"
    assert run.manifest().status == "running" and not run.manifest().is_finished
    assert finish_run(run, DONE, metrics_of(), probes_of(), b"\x00weights") == run
    assert run.config() == config_of()
    sealed = run.manifest()
    assert repr(sealed.replace(files={})) == repr(DONE)
    for name in ("config.yaml", "metrics.parquet", "probes.nc", "params.msgpack"):
        assert sealed.files[name] == file_digest(run.path / name)
    assert len(sealed.files) == 4
    assert run.metrics().equals(metrics_of())
    assert run.params_bytes() == b"\x00weights"
    assert sorted(os.listdir(run.path)) == sorted(
        [
            "config.yaml",
            "manifest.json",
            "metrics.parquet",
            "probes.nc",
            "params.msgpack",
        ]
    )


def test_probes_keep_names_attributes_and_bits(tmp_path: Path):
    run = begun(tmp_path)
    probes = probes_of(4)
    probes["log10_adjoint"].attrs["window"] = [1, 2]
    probes["log10_adjoint"].attrs["nothing"] = None
    probes["word"].attrs["language"] = "en"
    probes["share"] = (("kernel",), np.array([1e-40, -0.0, np.nan, np.inf], np.float32))
    probes["dead"] = (("kernel",), np.array([True, False, True, True]))
    probes.attrs["options"] = {"lag": 5}
    finish_run(run, DONE, probes=probes)
    read = run.probes()
    assert read["log10_adjoint"].dims == ("time", "state")
    assert read["log10_adjoint"].attrs["units"] == "log10"
    assert list(read["log10_adjoint"].attrs["window"]) == [1, 2]
    assert read["word"].attrs == {"language": "en"}
    assert read.attrs == {
        "quantity": "lagged adjoint",
        "exponent": 1,
        "options": '{"lag": 5}',
    }
    for name in ("log10_adjoint", "share"):
        assert read[name].dtype == np.float32
        assert read[name].values.tobytes() == probes[name].values.tobytes()
    assert read["dead"].dtype == bool
    assert list(read["word"].values) == list(probes["word"].values)
    assert (
        "nothing" in probes["log10_adjoint"].attrs
    )  # The caller's data set is as it was.


CONFIG_VALUES = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
)


@settings(max_examples=40, deadline=None)  # Each example waits for the disk.
@given(st.dictionaries(st.text(max_size=4), CONFIG_VALUES | st.lists(CONFIG_VALUES)))
def test_configuration_round_trip(
    tmp_path_factory: pytest.TempPathFactory, config: dict
):
    pool = tmp_path_factory.getbasetemp() / "configs"
    run = begin_run(pool, "sample", KEY, {"inner": config}, manifest_of(KEY))
    assert run.config() == {"inner": config}


@pytest.mark.parametrize(
    "file", ["metrics.parquet", "probes.nc", "params.msgpack", "manifest.json"]
)
@pytest.mark.parametrize("moment", ["before the rename", "after the rename"])
def test_killed_while_finishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, moment: str
):
    run = begun(tmp_path)
    real = os.replace

    def die(source: Path, target: Path) -> None:
        if Path(target).name == file and moment == "before the rename":
            raise KeyboardInterrupt
        real(source, target)
        if Path(target).name == file:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            finish_run(run, DONE, metrics_of(), probes_of(), b"w")
    sealed = file == "manifest.json" and moment == "after the rename"
    assert run.manifest().is_finished is sealed
    if sealed:
        assert run.metrics().equals(metrics_of()) and run.params_bytes() == b"w"
        assert run.probes().sizes["time"] == 3
    else:
        finish_run(run, DONE, metrics_of(1), probes_of(5), b"again")
        assert run.manifest().is_finished and run.params_bytes() == b"again"
        assert run.metrics().equals(metrics_of(1)) and run.probes().sizes["time"] == 5


def test_an_extended_run_is_unfinished_until_sealed_again(tmp_path: Path):
    run = begun(tmp_path)
    finish_run(run, DONE, metrics_of(), probes_of(), b"w")
    (run.path / ".probes.nc.99.tmp").write_bytes(b"left by a killed writer")
    with pytest.raises(ValueError, match="sealed"):
        finish_run(run, DONE, metrics_of(1))
    longer = begin_run(
        tmp_path, "sample", KEY, config_of() | {"steps": 40}, manifest_of(KEY)
    )
    assert longer == run and run.manifest().status == "running"
    assert run.config()["steps"] == 40 and run.params_bytes() == b"w"
    finish_run(run, DONE, metrics_of(1))
    assert run.metrics().equals(metrics_of(1))
    assert sorted(os.listdir(run.path)) == [
        "config.yaml",
        "manifest.json",
        "metrics.parquet",
    ]


def test_results_never_lie_sealed_beside_another_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = begun(tmp_path)
    finish_run(run, DONE, metrics_of())

    def die(path: Path, text: str, durable: bool) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rundir, "write_text", die)
        begun(tmp_path)
    assert not run.has("manifest.json")


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_run_that_goes_on_is_not_sealed(tmp_path: Path, status: str):
    with pytest.raises(ValueError, match=status):
        finish_run(begun(tmp_path), DONE.replace(status=status))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a\nb", "a*"])
def test_names_that_cannot_name_a_folder(tmp_path: Path, name: str):
    with pytest.raises(UserError, match="^name: "):
        begin_run(tmp_path, name, KEY, {}, manifest_of(KEY))


def test_a_pool_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="^cannot write '.*file/pool/sample-.*'"):
        begun(tmp_path / "file" / "pool")


def test_a_full_disk_is_one_sentence_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(frame: pl.DataFrame, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    run = begun(tmp_path)
    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(UserError, match=r"cannot write '.*parquet': No space left"):
        finish_run(run, DONE, metrics_of())
    assert sorted(os.listdir(run.path)) == ["config.yaml", "manifest.json"]


def test_what_a_run_does_not_hold(tmp_path: Path):
    run = begun(tmp_path)
    for read in (run.metrics, run.probes, run.params_bytes):
        with pytest.raises(UserError, match="holds no"):
            read()
    (run.path / "manifest.json").write_text("torn {")
    with pytest.raises(UserError, match="manifest.json': this is not a manifest"):
        run.manifest()


def test_empty_probes(tmp_path: Path):
    run = begun(tmp_path)
    empty = xr.Dataset({"share": (("time", "kernel"), np.zeros((0, 2), np.float32))})
    finish_run(run, DONE, probes=empty)
    assert dict(run.probes().sizes) == {"time": 0, "kernel": 2}


@pytest.mark.parametrize("name", ["config.yaml", "metrics.parquet", "probes.nc"])
def test_a_file_that_changed_after_the_run_is_not_read(tmp_path: Path, name: str):
    """Another run's, one that is cut off, or one bit: the manifest knows the digest."""
    run = begun(tmp_path)
    finish_run(run, DONE, metrics_of(), probes_of(), b"w")
    readers = {
        "config.yaml": run.config,
        "metrics.parquet": run.metrics,
        "probes.nc": run.probes,
    }
    whole = (run.path / name).read_bytes()
    readers[name]()
    turned = bytes([whole[len(whole) // 2] ^ 1])
    flipped = whole[: len(whole) // 2] + turned + whole[len(whole) // 2 + 1 :]
    for content in (whole[: len(whole) // 2], b"", flipped):
        (run.path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}' is not what the run left"):
            readers[name]()
