"""Networks that explode, vanish or hold NaN: what the probe says of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.cells import GRU, LSTM, Elman
from rnnjax.recurrence.layer import Recurrent
from scripts.odd_inputs.case import case, expect


def seen(layer: Recurrent, x: Any, params: Any, *sections: str) -> Any:
    """A probe of one layer, by the sum of its last output."""

    def model(params: Any, x: Any) -> Any:
        return layer.apply({"params": params}, x)[0][-1]  # type: ignore[index]

    return rnnjax.probe(
        model,
        params,
        x,
        lambda y: y.astype(jnp.float32).sum(-1),
        sections=sections or ("adjoints", "contributions"),
    )


def _linear(factor: float, steps: int) -> Any:
    """A tanh network at rest: each slope is 1, so that every factor is `factor`."""
    layer = Recurrent(Elman(2, 1))
    x = jnp.zeros((steps, 1, 2))
    params: Any = layer.init(jax.random.key(0), x)["params"]
    params["cell"]["U"] = jnp.full((1, 1), factor)
    params["cell"]["V"] = jnp.zeros((2, 1))
    return seen(layer, x, params, "adjoints", "dynamics")


def _powers(factor: float, steps: int) -> None:
    data = _linear(factor, steps)
    lag = np.arange(steps)[::-1]
    want = lag * np.log10(factor)
    got = np.asarray(
        data.log10_adjoint.sel(array="joint")
        if "array" in data.log10_adjoint.dims
        else data.log10_adjoint
    ).reshape(-1)
    expect(np.allclose(got, want, rtol=1e-4, atol=1e-3), f"{got[:2]}, not {want[:2]}")
    for name in ("adjoint_rate", "worst_case_rate", "typical_rate"):
        rate = float(data[name].values.ravel()[0])
        expect(abs(rate - np.log(factor)) < 1e-2, f"{name} {rate}")


@case("never")
def adjoints_of_1e150() -> None:
    _powers(1e5, 31)


@case("never")
def adjoints_of_1e_minus_150() -> None:
    _powers(1e-5, 31)


def _not_called_zero(data: Any) -> None:
    for name in ("log10_adjoint", "log10_gradient"):
        values = data[name].values
        expect(not np.isneginf(values).any(), f"{name} says exactly zero")
    expect(not np.nan_to_num(data.exact_zeros.values).any(), "exact_zeros")


def _grown(cell: Any, steps: int, factor: float) -> Any:
    layer = Recurrent(cell)
    x = jnp.ones((steps, 2, 2))
    params: Any = layer.init(jax.random.key(0), x)["params"]
    return layer, x, jax.tree.map(lambda leaf: leaf * factor, params)


@case()
def a_relu_network_beyond_float32_in_two_steps() -> None:
    layer, x, params = _grown(Elman(2, 3, activation="relu"), 4, 1.0)
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, 1e25), params)
    _not_called_zero(seen(layer, x, params))


@case()
def a_parameter_that_is_nan() -> None:
    layer, x, params = _grown(GRU(2, 3), 5, 1.0)
    first = jax.tree.leaves(params)[0]
    params = jax.tree.map(
        lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan) if leaf is first else leaf,
        params,
    )
    data = seen(layer, x, params)
    expect(np.isnan(data.loss), f"loss {float(data.loss)}")
    _not_called_zero(data)


@case()
def a_parameter_that_is_infinite() -> None:
    layer, x, params = _grown(LSTM(2, 3), 5, 1.0)
    params["cell"] = {
        name: jnp.full_like(leaf, jnp.inf) if name == "U" else leaf
        for name, leaf in params["cell"].items()
    }
    _not_called_zero(seen(layer, x, params))


@case()
def nan_in_one_example_leaves_the_others() -> None:
    layer, x, params = _grown(Elman(2, 3), 5, 1.0)
    bad = seen(layer, x.at[2, 0, 0].set(jnp.nan), params, "adjoints")
    good = seen(layer, x, params, "adjoints")
    a, b = (one.log10_adjoint.isel(example=1).values for one in (bad, good))
    expect(np.allclose(a, b, equal_nan=True), "the clean example changed")
    held = bad.log10_adjoint.isel(example=0).values
    expect(not np.isneginf(held).any(), "NaN became exactly zero")


@case()
def an_adjoint_in_sixteen_bits() -> None:
    layer, x, params = _grown(Elman(2, 4), 12, 1.0)
    want = seen(layer, x, params, "adjoints").log10_adjoint.values
    half: Any = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
    layer = Recurrent(Elman(2, 4, jnp.bfloat16))
    got = seen(layer, half[1], half[0], "adjoints").log10_adjoint.values
    expect(np.allclose(got, want, atol=0.05), f"off by {np.abs(got - want).max()}")


@case()
def training_a_gru_in_float16() -> None:
    layer = Recurrent(GRU(2, 3, jnp.float16))
    x = jnp.ones((5, 2, 2), jnp.float16)
    params = layer.init(jax.random.key(0), x)["params"]

    def loss(params: Any, cell: Any, x: Any) -> Any:
        made: Any = Recurrent(cell).apply({"params": params}, x)
        return jnp.sum(made[0][-1].astype(jnp.float32) ** 2)

    got = jax.grad(loss)(params, GRU(2, 3, jnp.float16), x)
    wide: Any = jax.tree.map(lambda a: a.astype(jnp.float32), (params, x))
    want = jax.grad(loss)(wide[0], GRU(2, 3), wide[1])
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        expect(np.allclose(a, b, atol=0.02), "gradient differs from float32's")
