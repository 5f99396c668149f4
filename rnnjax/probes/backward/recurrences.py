"""How to mark each kind of call: our `Recurrent`, linen's `RNN`, an embedding."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.recurrent import flip_sequences
from jaxtyping import Array

from rnnjax.cells.linen import from_linen
from rnnjax.errors import UserError
from rnnjax.probes.backward.marked_program import Called, Mark
from rnnjax.probes.backward.walk import Walked, first_state, in_order, walk_forward
from rnnjax.recurrence.functional import make_weights
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.masking import at_end


def swap(x: Array) -> Array:
    """From time-major to batch-major or vice versa."""
    return jnp.swapaxes(x, 0, 1)


def _array(x: Any) -> Array | None:
    return None if x is None else jnp.asarray(x)


def embedding(path: str) -> Mark:
    return Mark(path, lambda called, _: (called.rows, None), lambda _, leaf: leaf)


def ours(
    path: str,
    module: Recurrent,
    x: Array,
    lengths: Any = None,
    resets: Any = None,
    initial_state: Any = None,
    last: bool = False,
) -> tuple[Mark, Called]:
    cell, weights = module.weights()
    initial = initial_state
    if initial is None:
        initial = first_state(module, x.shape[1])
    called = Called(x, weights, initial, _array(lengths), _array(resets))
    walk = _walk(cell, module.backwards)

    def present(called: Called, leaf: Any) -> Any:
        return at_end(leaf, called.lengths, module.backwards) if last else leaf

    return Mark(path, walk, present, initial_state is not None), called


def _walk(cell: Any, backwards: bool, masked: bool = True) -> Any:
    def walk(called: Called, name: str) -> tuple[Any, Walked]:
        walked, outputs = walk_forward(
            cell,
            called.weights,
            name,
            called.x,
            called.initial,
            called.lengths if masked else None,
            called.resets,
            backwards=backwards,
        )
        return (outputs, in_order(walked.states, backwards)), walked

    return walk


def linen(
    path: str,
    module: nn.RNN,
    inputs: Array,
    *,
    initial_carry: Any = None,
    init_key: Any = None,
    seq_lengths: Any = None,
    **options: Any,
) -> tuple[Mark, Called]:
    """linen's RNN, run by our scan.

    In the forward direction it keeps running on the padding after `seq_lengths`, as
    linen does. In the reverse direction linen also runs on the padding, once it is past
    the first step; our scan holds the state instead, which makes no difference to a
    model that does not read its padding.
    """

    def option(key: str) -> bool:
        value = options.get(key)
        return getattr(module, key) if value is None else value

    if inputs.ndim != 3:
        raise UserError(
            f"RNN '{path}' has inputs with {inputs.ndim} axes, {inputs.shape}; the "
            "probe needs (batch, time, features) or (time, batch, features) and cannot "
            "measure under vmap"
        )
    first, backwards = option("time_major"), option("reverse")
    keep_order, with_carry = option("keep_order"), option("return_carry")
    x = inputs if first else swap(inputs)
    try:
        wrapped = from_linen(module.cell, x.shape[-1])
    except TypeError as error:
        raise UserError(f"RNN '{path}' cannot be measured: {error}") from None
    kept = dict(module.cell.variables)
    own = {"inner": kept.pop("params", {})}
    if kept:
        raise UserError(
            f"RNN '{path}' cannot be measured: its cell has the collections "
            f"{', '.join(sorted(kept))} besides its parameters"
        )
    cell, weights = make_weights(wrapped, own)
    initial = initial_carry
    if initial is None:
        key = jax.random.key(0) if init_key is None else init_key
        initial = module.cell.initialize_carry(key, x.shape[1:])
    called = Called(x, weights, initial, _array(seq_lengths))

    def present(called: Called, leaf: Any) -> Any:
        (outputs, states), lengths = leaf, called.lengths
        if backwards and not keep_order:
            outputs = flip_sequences(outputs, lengths, 1, time_major=True)
        outputs = outputs if first else swap(outputs)
        if backwards or lengths is None:
            last = jax.tree.map(lambda h: h[0 if backwards else -1], states)
        else:
            last = jax.tree.map(
                lambda h: h[lengths - 1, jnp.arange(h.shape[1])], states
            )
        return (last, outputs) if with_carry else outputs

    walk = _walk(cell, backwards, masked=backwards)
    return Mark(path, walk, present, initial_carry is not None), called
