"""The laboratory: one data set of everything, of any Flax model and of a run."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import rnnjax
from rnnjax.analysis.analyze import SECTIONS
from rnnjax.analysis.any_model import probe
from rnnjax.analysis.configured_run import RUN_SECTIONS, analyze_run, write_out
from rnnjax.cells import Elman
from rnnjax.errors import UserError
from rnnjax.recurrence.layer import Recurrent
from rnnjax.report.instruments.adjoints import norms_by_lag
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import initial_params
from tests.launch_samples import SIZES


LENGTH, SIZE = 6, 3
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 5, (SIZE, LENGTH)))
TARGETS = jnp.asarray([0, 1, 1])


class Users(nn.Module):
    """linen's cell and ours, one on the other, batch first."""

    @nn.compact
    def __call__(self, tokens):
        x: Any = nn.Embed(5, 3)(tokens)
        x = nn.RNN(nn.LSTMCell(4), name="lower")(x)
        cell = Elman(4, 2, activation="sigmoid", parent=None)
        x, _ = Recurrent(cell, name="upper")(jnp.swapaxes(x, 0, 1))
        return nn.Dense(2)(x[-1])


def loss(answers: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(answers, TARGETS)


@pytest.fixture(scope="module")
def users() -> tuple[Any, Any]:
    model = Users()
    return model, model.init(jax.random.key(0), TOKENS)["params"]


@pytest.fixture(scope="module")
def examined(users) -> xr.Dataset:
    model, params = users
    return rnnjax.probe(model, params, TOKENS, loss, time_major=False)


def test_every_quantity_of_a_users_model(examined, users):
    params = users[1]
    assert examined.layer.values.tolist() == ["lower", "upper"]
    assert examined.attrs["title"] == "gradient flow of Users"
    lags = (examined.last_step - examined.time).transpose("time", "example")
    assert lags.values.tolist() == [[LENGTH - 1 - t] * SIZE for t in range(LENGTH)]
    for name, variable in examined.data_vars.items():
        assert variable.attrs["definition"] and "units" in variable.attrs, name
    # the sizes of the two layers differ: what one lacks is not a number
    upper = examined.sel(layer="upper")
    assert np.isnan(upper.log10_adjoint.sel(array="0")).all()
    assert np.isfinite(upper.log10_adjoint.sel(array="h")).all()
    assert upper.slope_bound.dropna("activation").values.tolist() == [0.25]
    assert upper.singular_value.dropna("mode").sizes["mode"] == 2
    gates = examined.sel(layer="lower").gate_open.dropna("gate")
    assert gates.sizes["gate"] == 3, "a gate of linen's LSTM was not recorded"
    names = set(examined.parameter.values)
    assert {"Embed_0/embedding", "LSTMCell_0/hf/bias", "upper/cell/U"} <= names
    assert len(names) == examined.sizes["parameter"] == len(jax.tree.leaves(params))
    seen = examined.drop_sel(parameter=["Dense_0/bias", "Dense_0/kernel"])
    np.testing.assert_allclose(seen.signed_share.sum("time"), 1.0, atol=1e-4)
    np.testing.assert_allclose(seen.norm_share.sum("time"), 1.0, atol=1e-5)


def test_sections_agree_with_each_other(examined):
    upper = examined.sel(layer="upper")
    norms = upper.log10_adjoint.sel(array="joint")
    # ‖λ_{t−1}‖ / ‖λ_t‖ is slope times weight
    steps = -np.diff(norms.values, axis=0)
    split = (upper.log10_slope_factor + upper.log10_weight_factor).values[1:]
    np.testing.assert_allclose(steps, split, atol=1e-4)
    norm = upper.spectral_norm.sel(step=LENGTH - 1).values
    assert np.all(steps[-1] <= np.log10(norm) + 1e-4), "a factor beyond its norm"
    # propagators are products of Jacobians: log |det| is the sum over steps
    volume = np.log(upper.singular_value).sum("mode").isel(sentence=0)
    whole = upper.log_sigma.isel(lag_probed=-1).sum("mode")
    assert float(volume.sum("step")) == pytest.approx(float(whole), rel=1e-4)
    logs = upper.log_sigma.isel(lag_probed=-1).dropna("mode").values
    worst, typical = (
        float(upper[name].isel(sentence=0)) * LENGTH
        for name in ("worst_case_rate", "typical_rate")
    )
    assert worst == pytest.approx(logs[0], rel=1e-6)
    gain = 0.5 * np.log(np.mean(np.exp(2 * logs)))
    assert typical == pytest.approx(gain, rel=1e-6) and typical < worst


def test_reads_back_from_netcdf(examined, tmp_path):
    examined.to_netcdf(tmp_path / "probe.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "probe.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back.load(), examined)


def test_a_loss_at_every_step():
    cell = Elman(3, 2, parent=None)
    layer = Recurrent(cell)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((LENGTH, SIZE, 3)))
    x = x.astype(jnp.float32)
    own = layer.init(jax.random.key(0), x)["params"]
    lengths = [6, 4, 1]

    def run(params: Any, x: Any) -> Any:
        return layer.apply({"params": params}, x, jnp.asarray(lengths))[0]

    found = probe(
        run, own, x, lambda y: jnp.sum(y**2, -1), lengths=lengths, sections=["adjoints"]
    )
    lagged = found.log10_adjoint.sel(array="joint").isel(layer=0)
    total = found.log10_total_adjoint.isel(layer=0)
    last = found.last_step.values
    at_last = [float(lagged[s, b] - total[s, b]) for b, s in enumerate(last)]
    np.testing.assert_allclose(at_last, 0.0, atol=1e-6)
    assert float(abs(lagged[0, 0] - total[0, 0])) > 1e-3
    assert np.isnan(total.values[4:, 1]).all(), "padding"


@pytest.mark.parametrize(
    ("loss", "sections", "message"),
    [
        (lambda y: jnp.mean(y, 0), SECTIONS, r"not one number per example \(3,\)"),
        (loss, ["adjoints", "dynamic"], "no section 'dynamic'; did you mean dynamics"),
    ],
)
def test_what_cannot_be_examined(users, loss, sections, message):
    model, params = users
    with pytest.raises(UserError, match=message):
        probe(model, params, TOKENS, loss, time_major=False, sections=sections)


def test_a_model_without_a_recurrence(users):
    _, params = users

    def no_recurrence(params: Any, tokens: Any) -> Any:
        return params["Embed_0"]["embedding"][tokens].sum(1)

    with pytest.raises(UserError, match="calls neither Recurrent nor.*no lax.scan"):
        probe(no_recurrence, params, TOKENS, lambda y: y.sum(-1), time_major=False)


@pytest.fixture(scope="module")
def config() -> Any:
    sizes = [*SIZES, "probe.batch=6", "probe.sentences=2", "model.hidden=3"]
    return compose("cell=elman", "task.distance=4", *sizes).config


def test_a_run_before_training(config):
    params = initial_params(config)
    data = analyze_run(config, params)
    assert data.sizes["sentence"] == 2 and data.sizes["example"] == 6
    assert data.word.values[0, 0] != "", "sentences have words"
    # a gradient that is not cut at all has no bias
    assert float(data.truncation_bias.sel(parameter_array="all")[-1]) < 1e-5
    assert float(data.truncation_bias.sel(parameter_array="all")[0]) > 1e-2
    norms = data.gradient_norm.drop_sel(parameter_array="all")
    joint = float(data.gradient_norm.sel(parameter_array="all"))
    assert float(np.sqrt((norms**2).sum())) == pytest.approx(joint, rel=1e-5)
    head = data.sensitivity.sel(parameter_array=["head/bias", "head/kernel"])
    assert np.all(head == 0), "the state does not depend on the read-out"
    U = float(10 ** data.log10_gradient.sel(parameter="layer0/U"))
    assert float(data.gradient_norm.sel(parameter_array="layer0/U")) == pytest.approx(
        U, rel=1e-4
    )
    part = analyze_run(config, params, ["adjoints"])
    assert "decay" in part and "lyapunov" not in part and "word" not in part
    assert set(RUN_SECTIONS) > set(SECTIONS)


def test_the_chain_rule_of_one_weight(config):
    params = initial_params(config)
    rule = write_out(config, params, "U[0,1]")
    assert rule.rate == config.lr and len(rule.step) == len(rule.word)
    assert rule.gradient == pytest.approx(np.sum(rule.term))
    assert rule.new == pytest.approx(rule.old - config.lr * rule.gradient)
    for weight, message in [
        ("W[0,0]", "unknown kernel 'W'"),
        ("layer7/U[0,0]", "unknown layer 'layer7'"),
        ("U[0,9]", "no entry"),
        ("U", "not an entry of a kernel"),
    ]:
        with pytest.raises(UserError, match=message):
            write_out(config, params, weight)


class BothEnds(nn.Module):
    """One answer from the last states of a walk from either end."""

    @nn.compact
    def __call__(self, x):
        ends = []
        for name, backwards in (("ahead", False), ("astern", True)):
            cell = Elman(x.shape[-1], 3, parent=None)
            layer = Recurrent(cell, backwards, name=name)
            ends.append(layer(x, last=True)[0])
        return jnp.concatenate(ends, -1)


@pytest.mark.slow
def test_lags_of_a_walk_from_the_end_count_from_its_own_end():
    """Over a palindrome both walks are the same, and so must be all that is by lag."""
    half = np.random.default_rng(0).standard_normal((6, 2, 2)).astype(np.float32)
    x = jnp.concatenate([half, half[::-1]])
    made = BothEnds().init(jax.random.key(0), x)["params"]
    params = {"ahead": made["ahead"], "astern": made["ahead"]}
    loss = lambda y: jnp.sum(y, axis=-1)
    data = probe(BothEnds(), params, x, loss, sections=("adjoints", "contributions"))
    ahead, astern = (data.sel(layer=name) for name in ("ahead", "astern"))
    adjoint = ahead["log10_adjoint"].to_numpy()
    np.testing.assert_allclose(astern["log10_adjoint"][:, ::-1], adjoint, atol=1e-5)
    assert np.all(ahead["decay"] < 0)
    for name in ("decay", "effective_rank", "horizon", "adjoint_rate"):
        np.testing.assert_allclose(astern[name], ahead[name], rtol=1e-3)
    noise = data["signal_to_noise"]
    one, other = (noise.sel(parameter=f"{n}/cell/U") for n in ("ahead", "astern"))
    np.testing.assert_allclose(one, other, rtol=1e-3)
    curves = [norms_by_lag(data, "log10_adjoint", n, "joint") for n in params]
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-5)
    assert data["lag_is_time"].to_numpy().tolist() == [0, 1]
