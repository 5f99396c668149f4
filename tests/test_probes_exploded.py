"""What exploded is NaN, not zero, and what is large is a number."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import rnnjax
from rnnjax.activations import ACTIVATIONS
from rnnjax.cells import Elman
from rnnjax.probes.adjoints.decay import decay
from rnnjax.probes.contributions.chain_rule import _spectral_norm
from rnnjax.probes.contributions.spread import held_by_last
from rnnjax.probes.dynamics.jacobian import leading_singular_values
from rnnjax.probes.dynamics.lyapunov import lyapunov
from rnnjax.probes.factors.gates import gate_summary, gates
from rnnjax.probes.factors.slope_times_weight import two_factors
from rnnjax.probes.factors.slopes import (
    PreActivation,
    log_slope,
    summary,
)
from rnnjax.probes.tokens.decodability import decodability
from rnnjax.probes.updates.sensitivity import sensitivity
from rnnjax.recurrence import scaled
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.scaled import Scaled
from tests.probe_models import batch_of, model_of, parameters
from tests.walk_samples import inputs as walk_inputs
from tests.walk_samples import walk


STEPS, GAIN = 40, 4.0
KNOWN, LOST = 0, 1
"""The example that stays finite, and the one that does not."""


def test_the_size_of_nan_is_nan() -> None:
    rows = [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [3.0, 4.0]]
    exponent = jnp.array([0, 0, 0, 400], jnp.int32)
    size = scaled.log10_norm(Scaled(jnp.array(rows), exponent))
    large = np.log10(5) + 400 * np.log10(2)
    np.testing.assert_allclose(size, [-np.inf, np.nan, np.inf, large], rtol=1e-6)
    product = Scaled(jnp.array([[np.nan]]), jnp.array([scaled.NO_EXPONENT], jnp.int32))
    assert scaled.normalise(product).exponent[0] != scaled.NO_EXPONENT, "0 · NaN is 0"


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "identity"])
def test_a_slope_at_nan_is_nan(name: str) -> None:
    phi = ACTIVATIONS[name]
    assert np.isnan(phi.slope(jnp.nan)) and np.isnan(log_slope(phi, jnp.array(jnp.nan)))


def test_statistics_of_slopes_and_gates_with_nan_are_nan() -> None:
    z = jnp.array([[[1.0], [np.nan]], [[2.0], [3.0]]])
    valid = jnp.ones((2, 2), bool)
    for name in ("relu", "sigmoid"):
        found = summary(PreActivation(z, valid, "hidden", ACTIVATIONS[name]))
        for part in ("mean", "active", "saturated"):
            assert np.isnan(getattr(found, part)), part
        assert np.isnan(found.rms[0]) and np.isfinite(found.rms[1])
        assert int(found.counts.sum()) == 3, "NaN is in a bin"
        hidden = valid.at[0, 1].set(False)
        rest = summary(PreActivation(z, hidden, "hidden", ACTIVATIONS[name]))
        assert np.isfinite(rest.mean) and np.isfinite(rest.rms).all()
    (gate,) = gates((PreActivation(z, valid, "forget", ACTIVATIONS["sigmoid"]),))
    seen = gate_summary(gate)
    for part in ("mean", "open", "shut", "time_constant", "time_constant_shut"):
        assert np.isnan(getattr(seen, part)).all(), part
    assert np.isnan(seen.by_time[0]) and np.isfinite(seen.by_time[1])


def inputs(*sizes: float) -> Any:
    """One impulse at step 0, of these sizes in the examples."""
    return jnp.zeros((STEPS, len(sizes), 1)).at[0, :, 0].set(jnp.array(sizes))


def run_of(activation: str, gain: float) -> tuple[Any, Any]:
    """h_t = φ(gain · h_{t−1} + x_t) in two units, and its parameters."""
    layer = Recurrent(Elman(1, 2, activation=activation, parent=None))
    params: Any = layer.init(jax.random.key(0), inputs(1.0))["params"]
    own = {"U": gain * jnp.eye(2), "V": jnp.ones((1, 2)), "b": jnp.zeros(2)}
    params = {"cell": own}
    return lambda p, x: layer.apply({"params": p}, x)[0][-1], params


@pytest.fixture(scope="module")
def exploded() -> xr.Dataset:
    run, params = run_of("relu", GAIN)
    return rnnjax.probe(run, params, inputs(1e-3, 1e30), lambda y: (y**2).sum(-1))


def test_an_exploded_network_is_not_a_dead_one(exploded) -> None:
    assert np.isnan(exploded.loss)
    for name, variable in exploded.data_vars.items():
        assert not np.isneginf(variable.astype(float)).any(), name
        if "example" in variable.dims and name.startswith(("log10", "decay")):
            if name not in ("log10_slope_factor", "log10_weight_factor"):
                assert np.isnan(variable.isel(example=LOST)).all(), name
    for name in ("exact_zeros", "log10_slope_factor"):
        assert np.isnan(exploded[name].isel(example=LOST)).all(), name
    for name in ("worst_case_rate", "typical_rate", "log10_condition"):
        assert np.isnan(exploded[name].isel(sentence=LOST)).all(), name
    # over the batch, with an example that is not known
    for name in ("effective_rank", "log10_gradient", "log10_contribution", "k90"):
        assert np.isnan(exploded[name]).all(), name
    for name in ("norm_share", "signed_share", "cancellation", "slope_mean"):
        assert np.isnan(exploded[name]).all(), name


def test_the_step_at_which_it_begins_is_named(exploded) -> None:
    with np.errstate(over="ignore"):
        h = np.float32(1e30) * np.float32(GAIN) ** np.arange(STEPS, dtype=np.float32)
    first = int(np.flatnonzero(np.isinf(h))[0])
    found = exploded.first_nonfinite_step.isel(layer=0)
    assert found.isel(example=LOST).values.tolist() == [first, first]
    assert np.isnan(found.isel(example=KNOWN)).all()
    norm = exploded.spectral_norm.isel(layer=0, sentence=LOST)
    np.testing.assert_allclose(norm[norm.step < first], GAIN)
    assert np.isnan(norm[norm.step > first]).all()


def test_the_examples_beside_it_keep_their_numbers(exploded) -> None:
    lag = STEPS - 1 - np.arange(STEPS)
    last = 1e-3 * GAIN ** (STEPS - 1.0)
    # the loss is the mean of two examples: λ_T = 2 h_T / 2
    size = np.log10(last * np.sqrt(2)) + lag * np.log10(GAIN)
    one = exploded.isel(layer=0, example=KNOWN)
    np.testing.assert_allclose(one.log10_adjoint.sel(array="joint"), size, rtol=1e-5)
    np.testing.assert_allclose(one.decay, np.log10(GAIN), rtol=1e-5)
    assert one.exact_zeros.values.tolist() == [0, 0]
    for name in ("worst_case_rate", "typical_rate"):
        rate = exploded[name].isel(layer=0, sentence=KNOWN)
        np.testing.assert_allclose(rate, np.log(GAIN), rtol=1e-5)
    # averages over the batch leave the exploded example out
    np.testing.assert_allclose(exploded.adjoint_rate, np.log(GAIN), rtol=1e-5)
    assert np.isposinf(exploded.horizon).all()


def test_a_large_adjoint_of_finite_states_is_a_number() -> None:
    gain, start = 100.0, 1e-36
    run, params = run_of("identity", gain)
    params = jax.tree.map(lambda x: x, params)
    few = 36
    seen = rnnjax.probe(
        run,
        params,
        inputs(start)[:few],
        lambda y: y.sum(-1),
        sections=("adjoints", "contributions"),
    )
    assert np.isnan(seen.first_nonfinite_step).all() and np.isfinite(seen.loss)
    lag = few - 1 - np.arange(few)
    size = 0.5 * np.log10(2.0) + lag * np.log10(gain)
    assert size[0] > 70, "float32 holds it, too"
    joint = seen.log10_adjoint.sel(array="joint").isel(layer=0, example=0)
    np.testing.assert_allclose(joint, size, rtol=1e-5)
    # ∂L/∂U = Σ_t h_{t−1} δ_tᵀ with h_t = x gain^t and δ_t = gain^lag
    h = start * gain ** np.arange(few, dtype=np.float64)
    whole = np.log10(2 * np.sum(h[:-1] * gain ** lag[1:].astype(np.float64)))
    U = seen.log10_gradient.sel(
        parameter=[n for n in seen.parameter.values if n[-1] == "U"]
    )
    np.testing.assert_allclose(U, whole, rtol=1e-5)
    b = seen.log10_gradient.sel(
        parameter=[n for n in seen.parameter.values if n[-1] == "b"]
    )
    total = np.log10(np.sqrt(2.0) * np.sum(gain ** lag.astype(np.float64)))
    np.testing.assert_allclose(b, total, rtol=1e-5)


class Users(nn.Module):
    """linen's cell and head with linen's own ReLU, which passes no NaN back."""

    @nn.compact
    def __call__(self, x):
        silent = lambda z: nn.relu(z)
        cell = nn.SimpleCell(2, activation_fn=silent)
        x = nn.RNN(cell, time_major=True)(x)
        return nn.Dense(1)(silent(nn.Dense(2)(x[-1])))


def test_a_relu_of_the_users_own_hides_nothing() -> None:
    x = inputs(1.0, 2.0)
    model = Users()
    params: Any = model.init(jax.random.key(0), x)["params"]
    # ∞ · 0 and ∞ − ∞ are NaN
    grown = lambda p: 50.0 * (jnp.eye(*p.shape) if p.ndim == 2 else p + 1.0)
    params = jax.tree.map(grown, params)
    seen = rnnjax.probe(
        model,
        params,
        x,
        lambda y: (y**2).sum(-1),
        sections=("adjoints", "contributions", "dynamics"),
    )
    assert not np.isnan(seen.first_nonfinite_step).any()
    for name in (
        "log10_adjoint",
        "log10_contribution",
        "log10_gradient",
        "typical_rate",
    ):
        assert np.isnan(seen[name]).all(), name


def test_a_dead_network_is_still_exactly_zero() -> None:
    run, params = run_of("relu", GAIN)
    params["cell"]["b"] = jnp.full(2, -1.0)
    seen = rnnjax.probe(
        run,
        params,
        inputs(0.5),
        lambda y: y.sum(-1),
        sections=("adjoints", "contributions"),
    )
    joint = seen.log10_adjoint.sel(array="joint").isel(layer=0, example=0)
    assert np.isneginf(joint[:-1]).all() and np.isfinite(joint[-1])
    assert (seen.exact_zeros == STEPS - 1).all()
    assert np.isneginf(seen.log10_gradient).all() and np.isnan(seen.k90).all()


def test_a_loss_that_overflows_is_not_a_gradient_of_zero() -> None:
    run, params = run_of("identity", 1.0)
    seen = rnnjax.probe(
        run, params, inputs(1.0, 3e19), lambda y: (y**4).sum(-1), sections=("adjoints",)
    )
    assert np.isposinf(seen.loss) and np.isnan(seen.first_nonfinite_step).all()
    norms = seen.log10_adjoint.sel(array="joint").isel(layer=0)
    assert np.isfinite(norms[:, 0]).all() and not np.isfinite(norms[:, 1]).any()
    assert not np.isneginf(norms).any()


def test_sensitivity_to_what_is_nan_is_nan() -> None:
    batch = batch_of("last", 3, [3, 3])
    cell = Elman(3, 2, activation="relu", parent=None)
    model = model_of("elman").clone(cell=cell)
    params = parameters(model, batch)
    (name,) = (key for key in params if key.startswith("stack"))
    params[name]["cell"]["U"] = jnp.full((2, 2), jnp.nan)
    found = sensitivity(model, params, batch)
    assert np.isnan(found.mean[name]["cell"]["U"])
    head = next(key for key in params if key not in (name, "embed"))
    assert all(x == 0 for x in jax.tree.leaves(found.mean[head])), (
        "no part of the state"
    )


def test_what_is_fitted_to_states_that_exploded_is_nan() -> None:
    labels = np.arange(40) % 2
    states = np.random.default_rng(0).standard_normal((3, 40, 2)) + labels[:, None]
    states[1, 3, 0], states[2, 3] = np.inf, np.nan
    found = decodability(states, labels, probe="ridge_classifier")
    for part in (found.score, found.error, found.chance, found.control):
        assert np.isfinite(part[0]) and np.isnan(part[1:]).all()


def test_summaries_of_nan_are_nan() -> None:
    assert np.isnan(held_by_last(jnp.full(3, jnp.nan)))
    assert np.isnan(decay(np.full(20, np.inf)).horizon)
    assert np.isnan(decay(np.full(20, np.nan)).horizon)
    cell = Elman(2, 4, activation="relu", parent=None)
    params = {"U": 1e30 * jnp.eye(4), "V": jnp.ones((2, 4)), "b": jnp.ones(4)}
    seen = walk(cell, params, walk_inputs())
    found = lyapunov(seen.forward)
    for part in (found.exponents, found.error, found.drift, found.mean, found.spread):
        assert np.isnan(part).all()
    assert int(found.zeros.sum()) == 0
    tops = leading_singular_values(seen.forward, 2, method="exact")
    assert np.isnan(tops[-1]).all() and not (tops == 0).any()
    split = two_factors(seen)
    for part in (split.slope, split.weight, split.slope_sum, split.weight_sum):
        assert np.isnan(part).all()


def test_norms_of_what_is_not_finite_are_nan() -> None:
    stack = np.stack([3.0 * np.eye(2), np.full((2, 2), np.nan)])
    np.testing.assert_allclose(_spectral_norm(stack), [3.0, np.nan])
