"""A run directory is finished when its manifest says so, and never half."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.store import atomic
from rnnjax.store.leases import Overtaken
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import QUARANTINE
from rnnjax.store.run_id import file_digest
from rnnjax.store.rundir import NEXT, RunDir, run_path
from rnnjax.store.writing import (
    begin_run,
    finish_run,
    settle,
    write_source,
)
from tests.store_samples import (
    config_of,
    manifest_of,
    metrics_of,
    probes_of,
    store_run,
)


KEY = "0123456789ab"
DONE = manifest_of(KEY, status="done", finished="later", results={"loss": float("nan")})


def begun(pool: Path) -> RunDir:
    return begin_run(run_path(pool, "sample", KEY), config_of(), manifest_of(KEY))


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
    path = run_path(pool, "sample", KEY)
    shutil.rmtree(path, ignore_errors=True)
    run = begin_run(path, {"inner": config}, manifest_of(KEY))
    assert run.config() == {"inner": config}


def test_a_list_that_stands_twice_in_a_configuration_is_written_twice(tmp_path: Path):
    steps = [0, 5]
    config = {"probe": {"steps": steps}, "eval": {"steps": steps}}
    run = begin_run(run_path(tmp_path, "sample", KEY), config, manifest_of(KEY))
    assert run.config() == config


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


LATER = manifest_of(KEY, status="done", finished="later", results={"loss": 0.5})
KEPT = config_of() | {"steps": 40}


def sealed(pool: Path) -> RunDir:
    return finish_run(begun(pool), DONE, metrics_of(), probes_of(), b"w", best=b"b")


def again(run: RunDir) -> RunDir:
    """Begin a sealed run once more."""
    return begin_run(run.path, KEPT, manifest_of(KEY))


def test_a_run_is_not_written_through_a_link(tmp_path: Path):
    run, other = sealed(tmp_path / "pool"), sealed(tmp_path / "others")
    (run.path / "source").symlink_to(other.path)
    with pytest.raises(UserError, match="source' is a link"):
        write_source(run, "cell", b"")
    assert not (other.path / "cell.py").exists()
    assert_is_first(other)


def assert_is_first(run: RunDir) -> None:
    assert repr(run.manifest().results) == repr(DONE.results)
    assert run.config() == config_of() and run.params_bytes() == b"w"
    assert run.metrics().equals(metrics_of()) and run.probes().sizes["time"] == 3
    assert run.best_params_bytes() == b"b"
    run.check()


def assert_is_second(run: RunDir) -> None:
    assert run.manifest().results == LATER.results
    assert run.config() == KEPT and run.params_bytes() == b"again"
    assert run.metrics().equals(metrics_of(1))
    assert not run.has("probes.nc") and not run.has("best.msgpack")
    run.check()


def finish_second(attempt: RunDir) -> RunDir:
    return finish_run(attempt, LATER, metrics_of(1), params=b"again")


def test_a_sealed_result_stays_until_the_later_one_is_sealed(tmp_path: Path):
    run = sealed(tmp_path)
    with pytest.raises(ValueError, match="sealed"):
        finish_run(run, DONE, metrics_of(1))
    attempt = again(run)
    assert attempt.home == run.path != attempt.path
    assert_is_first(run)
    assert finish_second(attempt) == run
    assert_is_second(run)
    assert sorted(os.listdir(run.path)) == [
        "config.yaml",
        "manifest.json",
        "metrics.parquet",
        "params.msgpack",
    ]


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_later_attempt_that_ends_without_a_result_leaves_no_trace(
    tmp_path: Path, status: str
):
    run = sealed(tmp_path)
    before = contents(run)
    assert finish_run(again(run), DONE.replace(status=status)) == run
    assert contents(run) == before
    # neither does one that is killed, once the run is begun anew
    (again(run).path / "params.msgpack").write_bytes(b"half")
    assert_is_first(run)
    assert_is_second(finish_second(again(run)))


def contents(run: RunDir) -> dict[str, bytes]:
    files = (file for file in run.path.rglob("*") if file.is_file())
    return {str(file.relative_to(run.path)): file.read_bytes() for file in files}


def test_killed_at_any_step_of_replacing_a_sealed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One of both results can be read after every change of a name, all of it."""
    steps = 0
    while True:
        run = sealed(tmp_path / str(steps))
        attempt = again(run)
        write_source(attempt, "cell", b"mine")
        left = steps

        def counted(real: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
                return real(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", counted(os.replace))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            patch.setattr(Path, "rmdir", counted(Path.rmdir))
            try:
                finish_second(attempt)
            except KeyboardInterrupt:
                pass
            else:
                break
        if run.manifest().results == LATER.results:
            assert_is_second(run)
            settle(run)
            assert_is_second(run)
            assert not [f for f in (run.path / "next").rglob("*") if f.is_file()]
            assert (run.path / "source" / "cell.py").read_bytes() == b"mine"
        else:
            assert_is_first(run)
            assert_is_second(finish_second(again(run)))
        steps += 1
    assert steps > 10


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_run_that_goes_on_is_not_sealed(tmp_path: Path, status: str):
    with pytest.raises(ValueError, match=status):
        finish_run(begun(tmp_path), DONE.replace(status=status))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a\nb", "a*"])
def test_names_that_cannot_name_a_folder(tmp_path: Path, name: str):
    with pytest.raises(UserError, match="^name: "):
        run_path(tmp_path, name, KEY)


def test_a_pool_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="^cannot write '.*file/pool/sample-.*'"):
        begun(tmp_path / "file" / "pool")


def test_a_full_disk_is_one_sentence_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(path: Path, content: bytes) -> int:
        real(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    run, real = begun(tmp_path), Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write '.*parquet': No space left"):
        finish_run(run, DONE, metrics_of())
    assert sorted(os.listdir(run.path)) == ["config.yaml", "manifest.json"]


def test_what_a_run_does_not_hold(tmp_path: Path):
    run = begun(tmp_path)
    for read in (run.metrics, run.probes, run.params_bytes):
        with pytest.raises(UserError, match="has no"):
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
        with pytest.raises(UserError, match=f"{name}' was changed or damaged"):
            readers[name]()


@pytest.mark.parametrize("by", ["begun again", "sealed", "removed"])
def test_who_was_overtaken_writes_nothing(tmp_path: Path, by: str):
    run = begun(tmp_path)
    opened = manifest_of(KEY, created="later")
    later = begin_run(run.path, KEPT, opened)
    if by == "sealed":
        finish_run(later, opened.replace(status="done"), metrics_of(1))
    elif by == "removed":
        shutil.rmtree(run.path)
        run.path.mkdir()
    before = contents(run)
    with pytest.raises(UserError if by == "removed" else Overtaken):
        finish_run(run, DONE, metrics_of())
    assert contents(run) == before


@pytest.mark.parametrize("how", ["moved", "linked", "copied"])
def test_an_attempt_harms_no_other_run_that_lies_in_its_place(tmp_path: Path, how: str):
    run, other = sealed(tmp_path), store_run(Pool(tmp_path / "others"), seed=7)
    before = contents(other)
    place = run.path / NEXT
    if how == "moved":
        other.path.rename(place)
    elif how == "linked":
        place.symlink_to(other.path)
    else:
        shutil.copytree(other.path, place)
    with pytest.warns(UserWarning, match="is not an attempt at this run; moved to"):
        attempt = again(run)
    finish_second(attempt)
    aside = tmp_path / QUARANTINE / NEXT
    assert contents(RunDir(aside)) == before and aside.is_symlink() == (how == "linked")
    if how != "moved":
        assert contents(other) == before
