"""`rnnjax probe`: a network before training, a run at one of its steps, one weight."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr

import rnnjax
from rnnjax.cli.main import main
from rnnjax.store.rundir import RunDir
from tests.launch_samples import PROBE, SIZES


TINY = ["cell=elman", "task.distance=5", *SIZES, *PROBE]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> rnnjax.Run:
    return rnnjax.train(*TINY, out=tmp_path_factory.mktemp("pool"))


def load(folder: Path) -> xr.Dataset:
    return xr.load_dataset(folder / "probe.nc", engine="h5netcdf")


def test_before_training_and_at_step_0_are_one(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["probe", *TINY, "sections=adjoints", "out=here"]) == 0
    (folder,) = (tmp_path / "here" / "probes").iterdir()
    assert main(["probe", f"run={run.path}", "step=0", "sections=adjoints"]) == 0
    assert "decay" in capsys.readouterr().out
    before, after = load(folder), load(run.path / "probe-0")
    np.testing.assert_array_equal(before.log10_adjoint, after.log10_adjoint)
    stored = run.probes.log10_adjoint.sel(train_step=0)
    np.testing.assert_allclose(before.log10_adjoint, stored, rtol=1e-4)
    assert (folder / "probe.html").stat().st_size > 10_000
    assert "untrained" in before.attrs["title"]
    # what lies in a run directory does not trouble the run
    assert RunDir(run.path).manifest().status == "done"


def test_after_training(run, capsys):
    assert main(["probe", f"run={run.path}", "sections=adjoints"]) == 0
    stored = run.probes.log10_adjoint.sel(train_step=12)
    np.testing.assert_allclose(
        load(run.path / "probe-12").log10_adjoint, stored, rtol=1e-4
    )
    over_training = run.path / "probe-12" / "figures" / "gradient_over_training.svg"
    assert over_training.exists(), "the page shows what training measured"
    assert main(["probe", f"run={run.path}", "step=5"]) == 2
    assert "stored steps: 0, 4, 7, 12" in capsys.readouterr().err
    assert main(["probe", f"run={run.path}", "seed=3"]) == 2
    assert "run=DIR has its own configuration" in capsys.readouterr().err
    assert not (run.path / "probe-5").exists()


@pytest.mark.parametrize("place", ["probe-4", "probe-4/figures"])
def test_nothing_is_written_through_a_link(run, place, tmp_path, capsys):
    (tmp_path / "probe.nc").write_text("precious")
    link = run.path / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path)
    try:
        for more in "sections=adjoints", "weight=U[0,1]":
            assert main(["probe", f"run={run.path}", "step=4", more]) == 2
            assert f"'{link}' is a link" in capsys.readouterr().err
    finally:
        link.unlink()
    assert [file.name for file in tmp_path.iterdir()] == ["probe.nc"]
    assert (tmp_path / "probe.nc").read_text() == "precious"


def test_the_chain_rule_of_a_weight(run, capsys):
    assert main(["probe", f"run={run.path}", "weight=U[0,1]"]) == 0
    text = capsys.readouterr().out
    assert "sum of terms = dL/dU[0, 1]" in text
    assert "term           value * delta, the contribution of the step" in text
    table = pl.read_csv(run.path / "probe-12" / "chain_rule.csv")
    assert table["term"].sum() == pytest.approx(table["total"][-1])
    assert main(["probe", f"run={run.path}", "weight=W[0,1]"]) == 2
    assert "unknown kernel 'W'; known: U, V" in capsys.readouterr().err


def test_a_loss_of_a_file_is_probed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "import jax.numpy as jnp\n"
        "from jax import lax\n"
        "def loss(a, xs):\n"
        "    step = lambda h, x: (jnp.tanh(a * h + x), None)\n"
        "    return jnp.mean(lax.scan(step, jnp.zeros((2, 3)), xs)[0] ** 2)\n"
        "def loss_args():\n"
        "    return jnp.full((1, 3), 0.5), jnp.ones((6, 2, 3))\n"
        "def bare(a, xs):\n"
        "    return loss(a, xs)\n"
    )
    some = "sections=adjoints,contributions"
    assert main(["probe", "mine.py:loss", "out=pool", some, "examples=2"]) == 0
    said = capsys.readouterr().out
    assert f"loop0 ({tmp_path}/mine.py:5): scan over 6 steps" in said
    seen = load(tmp_path / "pool" / "probes" / "mine-loss")
    assert seen.parameter.values.tolist() == ["loop0/params", "params"]
    assert Path("pool/probes/mine-loss/probe.html").is_file()
    for words, message in (
        (["mine.py:los"], "did you mean loss"),
        (["mine.py:bare"], "has no 'bare_args'"),
        (["mine.py:loss", "section=adjoints"], "did you mean sections"),
        (["mine.py:loss", "examples=few"], "examples is a whole number"),
        (["mine.py:loss", "unroll=loop1"], "no loop 'loop1' to unroll"),
    ):
        assert main(["probe", *words]) == 2
        assert message in capsys.readouterr().err
