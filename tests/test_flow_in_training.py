"""The light probe inside a training step, and what is logged."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import rnnjax
from rnnjax.analysis.any_program import probe_loss
from rnnjax.errors import UserError
from tests.foreign_models import MODELS, N, X, mean_square, tanh_params


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(
    "label", ["attention_between", "bidirectional_pair", "state_space_in_parallel"]
)
def test_under_jit_it_gives_what_the_probe_gives(label: str) -> None:
    loss, args = MODELS[label]()
    value, gradient, flow = jax.jit(rnnjax.value_and_flow(loss))(*args)
    expected, known = jax.value_and_grad(loss)(*args)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        gradient,
        known,
    )
    seen = probe_loss(loss, *args, sections=("adjoints",))
    rows = seen.log10_total_adjoint.values
    joint = 0.5 * np.log10(np.sum(10 ** (2 * rows), axis=-1))
    loops = seen.attrs["loops"].splitlines()
    for name, logs, line in zip(seen.layer.values, joint, loops, strict=True):
        ends = logs[[-1, 0]] if "in reverse" not in line else logs[[0, -1]]
        found = [flow[f"{name}/log10_adjoint_{end}"] for end in ("last", "first")]
        np.testing.assert_allclose(found, ends, atol=1e-4)
        rate = (ends[1] - ends[0]) * np.log(10) / (len(logs) - 1)
        assert flow[f"{name}/total_adjoint_rate"] == pytest.approx(rate, abs=1e-4)


def test_gradients_of_a_tree_with_functions_are_those_of_its_arrays() -> None:
    class Layer(eqx.Module):
        cell: eqx.nn.GRUCell
        squash: Any

    def loss(layer: Any, xs: Any) -> Any:
        step = lambda h, x: (layer.squash(jax.vmap(layer.cell)(x, h)), None)
        return mean_square(lax.scan(step, jnp.zeros((xs.shape[1], N)), xs)[0])

    layer = Layer(eqx.nn.GRUCell(X.shape[-1], N, key=jax.random.key(0)), jnp.tanh)
    gradient = eqx.filter_jit(rnnjax.value_and_flow(loss))(layer, X)[1]
    known = eqx.filter_grad(loss)(layer, X)
    assert gradient.squash is None
    np.testing.assert_allclose(
        gradient.cell.weight_hh, known.cell.weight_hh, rtol=1e-4, atol=1e-7
    )


def test_with_rules_and_associative_scans_loss_and_gradient_are_those_of_jax() -> None:
    @jax.custom_vjp
    def clipped(h: Any) -> Any:
        return h

    clipped.defvjp(lambda h: (h, None), lambda _, d: (jnp.clip(d, -0.01, 0.01),))

    def ruled(p: Any, xs: Any) -> Any:
        step = lambda h, x: (clipped(jnp.tanh(h @ p["U"] + x @ p["V"])), None)
        return mean_square(lax.scan(step, jnp.zeros((xs.shape[1], N)), xs)[0])

    def unassociative(p: Any, xs: Any) -> Any:
        join = lambda a, b: jnp.tanh(a @ p["U"] + b)
        return mean_square(lax.associative_scan(join, xs @ p["V"])[-1])

    for loss in (ruled, unassociative):
        value, gradient, flow = jax.jit(rnnjax.value_and_flow(loss))(tanh_params(2), X)
        expected, known = jax.value_and_grad(loss)(tanh_params(2), X)
        assert float(value) == pytest.approx(float(expected), rel=1e-6)
        for name, x in known.items():
            np.testing.assert_allclose(gradient[name], x, rtol=1e-5, atol=1e-7)
        assert flow["gradient_difference"] > 0.05
    loss, args = MODELS["state_space_in_parallel"]()
    assert rnnjax.value_and_flow(loss)(*args)[2]["gradient_difference"] < 1e-5
    with pytest.raises(UserError, match="xs: arguments of the loss go by position"):
        rnnjax.value_and_flow(ruled)(tanh_params(2), xs=X)


def test_what_is_not_known_under_jit_is_refused() -> None:
    loss, args = MODELS["while_loop_until_it_is_small"]()
    with pytest.raises(UserError, match="not known under jit"):
        jax.jit(rnnjax.value_and_flow(loss))(*args)
    rnnjax.value_and_flow(loss)(*args)
    with pytest.raises(UserError, match=r"no lax\.scan"):
        rnnjax.value_and_flow(lambda p, x: mean_square(x @ p["V"]))(tanh_params(2), X)


def test_log_sends_every_number_that_has_no_axis_of_time() -> None:
    class Run:
        def log(self, found: Any, step: int) -> None:
            self.found, self.step = found, step

    loss, args = MODELS["bidirectional_pair"]()
    seen, run = rnnjax.probe(loss, *args), Run()
    seen.log(run, step=3)
    assert run.step == 3
    assert run.found["gradient flow/loss"] == float(seen.loss)
    of_layer = seen.sel(layer="loop1", array="joint")
    rate = run.found["gradient flow/loop1/joint/adjoint_rate"]
    assert rate == float(of_layer.adjoint_rate)
    decay = run.found["gradient flow/loop1/joint/decay_rate"]
    assert decay == float(of_layer.decay_rate.sel(bound="estimate"))
    held = run.found["gradient flow/loop0/0/U/k90"]
    assert held == float(seen.k90.sel(parameter="loop0/0/U"))
    assert all(isinstance(x, float) and np.isfinite(x) for x in run.found.values())
