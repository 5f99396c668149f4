"""A disk that takes no more: one sentence, nothing half-written, nothing older lost."""

import io
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
import xarray as xr

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.report import build
from rnnjax.reproduce.figure_files import FigureFiles
from rnnjax.store.netcdf import netcdf_bytes
from rnnjax.store.pool import Pool
from tests.report_samples import opinion_sweep
from tests.store_samples import files_of_at_most, store_run


DATA = xr.Dataset(
    {"loss": (("seed", "time"), np.zeros((2, 9))), "adjoint_rate": ("seed", [0.0, 1])}
)
TABLE = pl.DataFrame({"value": [0.5] * 99, "trial": range(99)})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Commands that measure, search and write out do so in no time."""
    import rnnjax.analysis.configured_run
    import rnnjax.sweeps.initialisation_grid
    import rnnjax.sweeps.search
    import rnnjax.training.build

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rnnjax.training.build, "initial_params", lambda _: {})
    monkeypatch.setattr(
        rnnjax.analysis.configured_run, "analyze_run", lambda *_: DATA.copy()
    )
    monkeypatch.setattr(
        rnnjax.sweeps.initialisation_grid, "landscape", lambda *_: DATA.copy()
    )
    rule = types.SimpleNamespace(table=lambda: TABLE)
    monkeypatch.setattr(rnnjax.analysis.configured_run, "write_out", lambda *_: rule)
    settings = types.SimpleNamespace(out="runs", name=None)
    found = types.SimpleNamespace(settings=settings, trials=TABLE)
    monkeypatch.setattr(rnnjax.sweeps.search, "search", lambda *_: found)
    pool = Pool(tmp_path / "runs")
    for seed in range(5):
        store_run(pool, seed=seed)
    jax.config.update("jax_enable_compilation_cache", False)  # it is on the disk, too
    yield
    jax.config.update("jax_enable_compilation_cache", True)


COMMANDS = {
    "runs runs --csv out.csv": "out.csv",
    "runs runs --parquet out.parquet": "out.parquet",
    "runs runs --by cell.name --csv out.csv": "out.csv",
    "probe out=runs": "probe.nc",
    "probe -m out=runs seed=0,1": "probes.nc",
    "probe out=runs weight=V[0,0]": "chain_rule.csv",
    "search out=runs lr=interval(0,1)": ".csv",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_file_that_does_not_fit_is_named(
    words: str,
    measured: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out.csv").write_text("older")
    with files_of_at_most(40):
        assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("rnnjax: cannot write '") and err.count("\n") == 1, err
    assert COMMANDS[words] in err and "File too large" in err
    assert (tmp_path / "out.csv").read_text() == "older"
    assert not list(tmp_path.rglob("*.tmp"))
    assert out == ""


def test_a_report_that_does_not_fit_leaves_the_older_one(tmp_path: Path) -> None:
    opinion_sweep(tmp_path, ("gru",), (4, 60), (0,))
    page = build(tmp_path).read_bytes()
    for size in (100, 20_000):
        with files_of_at_most(size), pytest.raises(UserError, match="File too large"):
            build(tmp_path)
        assert (tmp_path / "report.html").read_bytes() == page
        assert not list(tmp_path.rglob("*.tmp"))


def test_results_of_a_figure_that_do_not_fit(tmp_path: Path) -> None:
    files = FigureFiles(tmp_path)
    files.write("quick", DATA)
    with files_of_at_most(1000), pytest.raises(UserError, match="quick.nc.*too large"):
        files.write("quick", DATA + 1)
    xr.testing.assert_identical(files.results("quick"), DATA)
    assert [file.name for file in tmp_path.iterdir()] == ["quick.nc"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_device_is_written_to_and_stays_one(
    kind: str, measured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("null", "full"):  # links, in case the device would be replaced
        Path(name).symlink_to(f"/dev/{name}")
    assert main(["runs", "runs", f"--{kind}", "null"]) == 0
    capsys.readouterr()
    assert main(["runs", "runs", f"--{kind}", "full"]) == 2
    err = capsys.readouterr().err
    assert "cannot write 'full': No space left" in err and err.count("\n") == 1
    assert all(Path(name).is_char_device() for name in ("null", "full"))


def test_bytes_of_a_data_set_are_those_of_a_file() -> None:
    """Attributes that netCDF lacks are written otherwise, and equal data alike."""
    data = DATA.assign_attrs(
        preset=None, exact=True, sizes={"T": 3}, axes=[True, False]
    )
    content = netcdf_bytes(data)
    assert content == netcdf_bytes(data) and data.attrs["exact"] is True
    packed = netcdf_bytes(data, {"loss": {"zlib": True}})
    assert packed != content
    for one in (content, packed):
        read = xr.load_dataset(io.BytesIO(one), engine="h5netcdf")
        xr.testing.assert_equal(read, DATA)
        assert read.attrs["exact"] == 1 and read.attrs["sizes"] == '{"T": 3}'
        assert "preset" not in read.attrs


LATE = """
import gc, resource, sys, time
import numpy as np
from rnnjax.store.checkpoint import PackCheckpoint

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
arrays = {f"w{i}": np.arange(200.0 + i) for i in range(40)}
for k in range(3):
    try:
        PackCheckpoint(f"{sys.argv[1]}/packs/{k}", ["a"]).save(1, arrays, {})
    except Exception as error:
        print("failed")
gc.collect()  # whenever that happens, nothing is said of tasks that failed
time.sleep(0.5)
"""


def test_a_save_that_fails_says_nothing_later(tmp_path):
    """Threads of TensorStore find the event loop closed, some 16 times a save."""
    words = [sys.executable, "-c", LATE, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("failed\n" * 3, "")
