"""Many untrained networks in one program: the numbers of the ordinary probe."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from rnnjax.cli.main import main
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.adjoints.decay import decay
from rnnjax.probes.adjoints.norms import by_lag
from rnnjax.probes.measure import measure
from rnnjax.sweeps import initialisation_grid as module
from rnnjax.sweeps.compose import plan
from rnnjax.sweeps.initialisation_grid import landscape
from rnnjax.sweeps.progress import PackSize
from rnnjax.training.build import build_hyper, heldout, initial_params, signature
from rnnjax.training.program import Program
from tests.launch_samples import Witness


SMALL = [
    *("cell=elman", "activation=sigmoid", "model.hidden=6", "probe.batch=3"),
    "probe.sentences=2",
    *("task=temporal_order", "init=orthogonal", "model.layers=2"),
]
AXES = ["init.gain=.5,4", "cell.bias=0,1", "task.length=24,20", "seed=range(3)"]


@pytest.mark.slow
def test_a_landscape_is_the_probe_of_each_network(monkeypatch):
    """24 points, two lengths, five points a call: all axes, the order of the axes."""
    monkeypatch.setattr(module, "CAPACITY", 4)
    made = plan([*SMALL, *AXES], multirun=True)
    witness = Witness()
    found = landscape(made.jobs, made.varied, witness)
    assert witness.packs == [PackSize(1, 12), PackSize(1, 12)]
    assert len(witness.advances) == 24
    names = ("init.gain", "cell.bias", "task.length", "seed")
    assert found.decay_of_mean.dims == (*names, "layer")
    assert dict(found.sizes) == dict(zip(names, (2, 2, 2, 3), strict=True)) | {
        "layer": 2,
        "lag": 24,
    }
    assert found["task.length"].values.tolist() == [24, 20]
    for job in made.jobs[::7]:
        config = job.config
        spec, params = signature(config).spec, initial_params(config)
        batch = heldout(config.task, config.task_options, "validation", 3)
        model = Program(signature(config)).model(build_hyper(config))
        one = jit_unoptimised(lambda p, b, m=model, s=spec: measure(m, s, p, b, 1))(
            params, batch
        )
        gain, bias = (
            dict(config.init.options)["gain"],
            dict(config.cell_options)["bias"],
        )
        length = dict(config.task_options)["length"]
        place = {"init.gain": gain, "cell.bias": bias, "seed": config.seed}
        point = found.sel(place | {"task.length": length})
        np.testing.assert_allclose(point.loss, one.loss, rtol=1e-5)
        last = np.asarray(batch.lengths) - 1
        for layer in range(2):
            norms = by_lag(np.asarray(one.log10_adjoint)[layer, 0], last).mean(axis=1)
            curve = point.log10_adjoint_mean[layer]
            np.testing.assert_allclose(curve[:length], norms, atol=2e-5)
            assert np.isnan(curve[length:]).all()
            np.testing.assert_allclose(
                point.decay_of_mean[layer], decay(norms).slope, atol=1e-5
            )
    # φ′ ≤ 1/4 and U = gain · orthogonal bound the slope of the upper layer
    assert (
        found.decay_of_mean.sel({"init.gain": 0.5})[..., 1] < np.log10(0.5 / 4) + 1e-3
    ).all()
    assert (found.decay_of_mean.sel({"init.gain": 4.0})[..., 1] < 1e-3).all()


def test_what_is_no_product_has_points(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pairs = "zip=[{init.gain: .5, seed: 1}, {init.gain: 2, seed: 4}]"
    assert main(["probe", "-m", *SMALL, "task.length=20", pairs]) == 0
    (file,) = tmp_path.glob("runs/probes/sweep-*/probes.nc")
    out = capsys.readouterr().out
    assert "2 points in" in out and file.name in out
    data = xr.load_dataset(file, engine="h5netcdf")
    assert data.decay_of_mean.dims == ("point", "layer")
    assert data["init.gain"].values.tolist() == [0.5, 2.0]
    assert data.seed.values.tolist() == [1, 4]
    assert data.decay_of_mean.attrs["units"] == "log10 per step of lag"


def test_a_sweep_needs_the_word(capsys):
    assert main(["probe", *SMALL, "seed=0,1"]) == 2
    assert "add -m" in capsys.readouterr().err


@pytest.mark.parametrize("lag", [0, 2])
def test_means_leave_exact_zeros_out(lag):
    norms = jnp.array([[-jnp.inf, -4.0], [-jnp.inf, -2.0], [0.0, jnp.nan]])
    found = module._by_lag(norms, jnp.array([2, 1]))
    expected = {0: (0.0 - 2.0) / 2, 2: -np.inf}[lag]
    assert found[lag] == expected


def test_a_point_that_explodes_is_not_one_that_vanishes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = ["cell=elman", "activation=relu", "model.hidden=6", "init=orthogonal"]
    task = ["task=temporal_order", "task.length=40", "probe.batch=3"]
    task.append("probe.sentences=0")
    assert main(["probe", "-m", *network, *task, "init.gain=1,50"]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 points exploded (init.gain = 50" in out
    (file,) = tmp_path.glob("runs/probes/sweep-*/probes.nc")
    data = xr.load_dataset(file, engine="h5netcdf").isel(layer=0)
    calm, wild = data.sel({"init.gain": 1.0}), data.sel({"init.gain": 50.0})
    assert float(calm.exploded) == 0 and np.isfinite(calm.decay_of_mean)
    assert np.isnan(calm.earliest_nonfinite_step) and not np.isnan(calm.horizon_of_mean)
    assert float(wild.exploded) == 1 and 15 < float(wild.earliest_nonfinite_step) < 40
    for name in ("decay_of_mean", "horizon_of_mean", "log10_adjoint_mean"):
        assert np.isnan(wild[name]).all(), name


def test_a_mean_with_nan_is_nan():
    norms = jnp.array([[-2.0, jnp.nan], [-1.0, jnp.nan], [0.0, 0.0]])
    found = module._by_lag(norms, jnp.array([2, 1]))
    assert np.isnan(found).tolist() == [True, True, False]
