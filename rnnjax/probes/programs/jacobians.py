"""Jacobians of the steps of a loop, of its whole float carry as one vector."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from rnnjax.probes.programs.loop_run import Axes, Ran, advance, examples_first, picked


def joint_size(ran: Ran, axes: Axes) -> int:
    """N, the number of real numbers in the carry of one example."""
    parts = [x.size * (1 + jnp.iscomplexobj(x)) for x in picked(ran.last)]
    return int(sum(parts)) // axes.size


def jacobians(
    ran: Ran, axes: Axes, steps: Any, examples: Sequence[int]
) -> Float[Array, "steps examples N N"]:
    """∂(carry after a step)/∂(carry before it), of real numbers.

    Arrays of the carry follow each other, each in row-major order, without the axis of
    examples; behind all of them the imaginary parts of those that are complex. Costs N
    cotangents a step, for all examples.

    Args:
        ran: the loop after its forward pass.
        axes: where the examples are.
        steps: indices of steps, counted along the loop's axis of time.
        examples: which examples are returned.
    """
    carried = zip(picked(ran.last), axes.carry, strict=True)
    real = [(x.shape, jnp.finfo(x.dtype).dtype, axis) for x, axis in carried]
    pairs = zip(real, picked(ran.last), strict=True)
    imaginary = [row for row, x in pairs if jnp.iscomplexobj(x)]
    size, places = joint_size(ran, axes), (*real, *imaginary)

    def split(flat: Array) -> list[Array]:
        """Cotangents of real and imaginary parts, the same for every example."""
        found, start = [], 0
        for shape, dtype, axis in places:
            own = tuple(n for place, n in enumerate(shape) if place != axis)
            end = start + int(np.prod(own))
            part = jnp.reshape(flat[start:end], own).astype(dtype)
            if axis is not None:
                part = jnp.broadcast_to(jnp.expand_dims(part, axis), shape)
            found.append(part)
            start = end
        return found

    def at(now: Any) -> Array:
        carry, x = now
        constants, inputs = picked(ran.constants), picked(x)
        run = advance(ran, carry, x)

        def onward(parts: list[Array]) -> list[Array]:
            return _parts(run(constants, _joined(parts, picked(carry)), inputs))

        # by cotangents: some rules of users have no forward derivative
        pull = jax.vjp(onward, _parts(picked(carry)))[1]

        def row(flat: Array) -> Array:
            (found,) = pull(split(flat))
            parts = [
                jnp.reshape(examples_first(y, axis), (axes.size, -1))
                for y, (_, _, axis) in zip(found, places, strict=True)
            ]
            return jnp.concatenate(parts, axis=-1)[jnp.asarray(examples)]

        basis = jnp.eye(size, dtype=jnp.result_type(*(dtype for _, dtype, _ in real)))
        return jax.vmap(row, out_axes=-2)(basis)

    some = jax.tree.map(lambda x: x[steps], (ran.before, ran.inputs))
    return lax.map(at, some)


def retentions(
    matrices: Float[np.ndarray, "T examples N N"], units: int
) -> Float[np.ndarray, "units"] | None:
    """Mean ln |a_i| over steps and examples, of h_i → a_i h_i + …; None: units mix.

    Args:
        matrices: Jacobians of all steps.
        units: numbers in the carry of one example. Of N = 2 · units, the second half
            are imaginary parts, and a is complex.
    """
    diagonal = lambda x: np.diagonal(x, axis1=-2, axis2=-1)
    apart = lambda x: np.array_equal(x, diagonal(x)[..., None] * np.eye(x.shape[-1]))
    real, rest = matrices[..., :units, :units], matrices.shape[-1] - units
    kept = np.abs(diagonal(real))
    if rest:
        turned = matrices[..., units:, :units]
        same = np.allclose(matrices[..., units:, units:], real, rtol=1e-5, atol=1e-7)
        back = np.allclose(matrices[..., :units, units:], -turned, rtol=1e-5, atol=1e-7)
        if rest != units or not (same and back and apart(turned)):
            return None
        kept = np.hypot(kept, np.abs(diagonal(turned)))
    if not apart(real):
        return None
    with np.errstate(divide="ignore"):
        return np.mean(np.log(kept), axis=(0, 1))


def _parts(arrays: Sequence[Array]) -> list[Array]:
    """Real parts, and behind them the imaginary parts of complex arrays."""
    real = [jnp.real(x) for x in arrays]
    return [*real, *(jnp.imag(x) for x in arrays if jnp.iscomplexobj(x))]


def _joined(parts: Sequence[Array], like: Sequence[Array]) -> list[Array]:
    """The inverse of `_parts`."""
    imaginary = iter(parts[len(like) :])
    return [
        lax.complex(part, next(imaginary)) if jnp.iscomplexobj(x) else part
        for part, x in zip(parts, like, strict=False)
    ]
