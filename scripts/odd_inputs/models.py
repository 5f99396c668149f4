"""Flax models that do something between two recurrences: the gradient is autodiff's."""

import warnings
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

import rnnjax
from rnnjax.errors import UserError
from scripts.odd_inputs.case import add, expect


RNN: Any = nn.RNN
BATCH, STEPS, FEATURES = 3, 6, 4
INPUTS = jax.random.normal(jax.random.key(1), (BATCH, STEPS, 2))


class Between(nn.Module):
    """Two simple recurrences with something between them, answering at the end."""

    middle: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = RNN(nn.SimpleCell(FEATURES), name="enc")(x)
        return RNN(nn.SimpleCell(FEATURES), name="dec")(self.middle(y))[:, -1]


def squares(y: jax.Array) -> jax.Array:
    """A loss an example."""
    return jnp.sum(y.reshape(len(y), -1) ** 2, axis=-1)


def compare(model: Any, x: jax.Array = INPUTS, params: Any = None, **how: Any) -> None:
    """Hold loss and gradient norms of a probe against the untouched model.

    A warning says that the numbers may be off: with one, they are no silent answer.
    """
    is_module = isinstance(model, nn.Module)
    if is_module:
        params = model.init(jax.random.key(0), x)["params"]

    def call(params: Any, x: jax.Array) -> Any:
        return model.apply({"params": params}, x) if is_module else model(params, x)

    mean = jax.jit(lambda params: squares(call(params, x)).mean())
    loss, gradient = jax.value_and_grad(mean)(params)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        seen = rnnjax.probe(
            model,
            params,
            x,
            squares,
            time_major=False,
            sections=("contributions",),
            **how,
        )
    own = [one for one in said if issubclass(one.category, UserWarning)]
    difference = _difference(seen, float(loss), gradient)
    if difference and own:
        raise UserError(str(own[0].message).splitlines()[0])
    expect(not difference, difference)


def _difference(seen: Any, loss: float, gradient: Any) -> str:
    if abs(float(seen.loss) - loss) > 1e-4 * max(1.0, abs(loss)):
        return f"loss {float(seen.loss):.4f}, not {loss:.4f}"
    leaves = traverse_util.flatten_dict(nn.meta.unbox(gradient), sep="/")
    for name, leaf in leaves.items():
        got = float(seen.log10_gradient.sel(parameter=name))
        with np.errstate(divide="ignore"):
            known = np.log10(np.linalg.norm(np.asarray(leaf, np.float64)))
        if not np.isclose(got, known, atol=2e-3):
            return f"log10_gradient of {name} {got:.4f}, not {known:.4f}"
    return ""


def _attention(y: jax.Array) -> jax.Array:
    weights = jax.nn.softmax(jnp.einsum("btf,bsf->bts", y, y), axis=-1)
    return jnp.einsum("bts,bsf->btf", weights, y)


def _batch_norm(y: jax.Array) -> jax.Array:
    return (y - y.mean((0, 1))) / jnp.sqrt(y.var((0, 1)) + 1e-3)


def _convolved(y: jax.Array) -> jax.Array:
    kernel = jnp.array([0.2, 0.5, -0.3])
    return sum(jnp.roll(y, k - 1, axis=1) * kernel[k] for k in range(3))  # type: ignore


MIDDLES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "attention between recurrences": _attention,
    "running mean between recurrences": lambda y: (
        jnp.cumsum(y, axis=1) / jnp.arange(1, STEPS + 1)[None, :, None]
    ),
    "a shift by one step": lambda y: jnp.pad(y, ((0, 0), (1, 0), (0, 0)))[:, :-1],
    "a convolution over time": _convolved,
    "batch statistics over steps and examples": _batch_norm,
    "a pyramid that halves the steps": lambda y: y.reshape(BATCH, STEPS // 2, -1),
    "maximum over pairs of steps": lambda y: y.reshape(BATCH, STEPS // 2, 2, -1).max(2),
    "the last state repeated (encoder, decoder)": lambda y: jnp.repeat(
        y[:, -1:], STEPS, axis=1
    ),
    "the examples turned round": lambda y: y[::-1],
    "the examples rolled": lambda y: jnp.roll(y, 1, axis=0),
    "only the later half of the steps": lambda y: y[:, STEPS // 2 :],
}
for _name, _middle in MIDDLES.items():
    add(_name, lambda middle=_middle: compare(Between(middle)))

add(
    "nothing that mixes: a layer norm and a residual",
    lambda: compare(Between(lambda y: y + (y - y.mean(-1, keepdims=True)))),
    "never",
)
add(
    "attention, told to the probe",
    lambda: compare(Between(_attention), pointwise=False),
    "never",
)
