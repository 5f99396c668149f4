"""How strongly a late state depends on the parameters: E‖∂h_T/∂θ‖².

Zucchet & Orvieto (2024, "Recurrent neural networks: vanishing and exploding gradients
are not the end of the story"): as the memory of a network grows, its states become
increasingly sensitive to its parameters, although ∂h_T/∂h_0 does not explode. This is
the second moment that the paper studies: that of the total derivative ∂h_T/∂θ through
all earlier states, over the examples of a batch. The paper considers the stationary
regime (T → ∞) of a linear diagonal recurrence; here T is finite and the network is
arbitrary. Neither normalises by the number of states or parameters.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rnnjax.models.sequence import SequenceModel
from rnnjax.types import Batch, Params


@struct.dataclass
class Sensitivity:
    """‖∂h_T/∂θ‖², squared Frobenius norms, for every parameter array.

    The value for all parameters jointly is the sum over the arrays.

    Attributes:
        mean: mean over the examples, scalars in the structure of the parameters. 0 for
            parameters that the state does not depend on (those of the readout).
        error: standard error of `mean` as an estimate for these examples; 0 if exact.
        examples: the value of each example, ``(B,)``.
    """

    mean: Any
    error: Any
    examples: Any


def sensitivity(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    *,
    layer: int = -1,
    at: int | Int[Array, ""] | None = None,
    samples: int | None = None,
    key: PRNGKeyArray | None = None,
) -> Sensitivity:
    """Second moments of the derivative of a state; dropout is off.

    Args:
        model: the model; it is run with engine `scan` and exact back-propagation.
        params: its parameters, with respect to which the state is differentiated.
        batch: the examples.
        layer: index of the layer whose state is taken: that of its forward direction,
            all state arrays jointly, with a complex array as its real and imaginary
            parts (N real numbers in all).
        at: the step T, from 0; may be traced, so that a curve over T needs a single
            compilation. After the last valid step of an example the state is held.
            None: the last valid step of each example.
        samples: None: exact, with N vector-Jacobian products per example. Otherwise
            the number of products in an unbiased estimate (Hutchinson 1990), each with
            a vector v of random signs: E‖vᵀ ∂h/∂θ‖² = ‖∂h/∂θ‖².
        key: random key, needed with `samples`.

    Raises:
        ValueError: fewer than 2 samples, which have no standard error, or no key.
        IndexError: there is no such layer.

    Pure, works under `jit`. Costs B · N reverse scans of one example, or B · samples;
    examples are processed one after the other, each with N (or samples) gradients in
    memory at once.
    """
    if samples is not None and (samples < 2 or key is None):
        raise ValueError("an estimate needs at least 2 samples and a key")
    whole = model.clone(backprop="exact", lag=None, engine="scan", remat=None)
    steps = batch.inputs.shape[0]
    step = jnp.asarray(steps - 1 if at is None else at)

    def state(params: Params, inputs: Array, length: Array) -> Float[Array, "N"]:
        def run(bound: SequenceModel) -> Any:
            x, found = bound.encode(inputs[:, None]), []
            for number in range(range(model.layers)[layer] + 1):
                x, found = bound.run_layer(number, bound.between(x), length[None])
            return found[0]

        states = whole.apply({"params": params}, method=run)
        return jnp.concatenate([_real(x, step) for x in jax.tree.leaves(states)])

    def squares(example: Any) -> Any:
        inputs, length, key = example
        value, pull = jax.vjp(lambda p: state(p, inputs, length), params)
        if samples is None:
            seeds = jnp.eye(value.size, dtype=value.dtype)
        else:
            shape = (samples, value.size)
            seeds = jax.random.rademacher(key, shape, value.dtype)
        # a NaN state has no derivative, even where a slope of 0 would hide that
        seeds = jnp.where(jnp.isnan(value)[None], jnp.nan, seeds)
        (rows,) = jax.vmap(pull)(seeds)
        return jax.tree.map(
            lambda g: jnp.sum(jnp.square(g).reshape(len(g), -1), 1), rows
        )

    size = batch.lengths.shape[0]
    keys = jax.random.split(jax.random.key(0) if key is None else key, size)
    inputs = jnp.moveaxis(batch.inputs, 1, 0)
    found = lax.map(squares, (inputs, batch.lengths, keys))
    if samples is None:
        examples = jax.tree.map(lambda x: jnp.sum(x, 1), found)
        error = jax.tree.map(lambda x: jnp.zeros((), x.dtype), examples)
    else:
        examples = jax.tree.map(lambda x: jnp.mean(x, 1), found)
        # examples use independent signs, so the variances of their means add up
        spread = jax.tree.map(lambda x: jnp.var(x, 1, ddof=1) / samples, found)
        error = jax.tree.map(lambda v: jnp.sqrt(jnp.sum(v)) / size, spread)
    return Sensitivity(jax.tree.map(jnp.mean, examples), error, examples)


def _real(states: Array, step: Array) -> Float[Array, "..."]:
    """The state of a single example at one step, as real numbers."""
    x = lax.dynamic_index_in_dim(states[:, 0], step, keepdims=False)
    return jnp.concatenate([x.real, x.imag]) if jnp.iscomplexobj(x) else x
