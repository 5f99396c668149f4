"""What a cell keeps of its state without going through a matrix: its direct path.

D_t = ∂h_t/∂h_{t−1} with the outputs of all dense and block products held fixed. It is
found automatically for any cell: ∂c_t/∂c_{t−1} = f_t for an LSTM, z_t for a GRU. (In
Hochreiter & Schmidhuber 1997 it is 1, the constant error carousel; Gers et al. 2000
replaced that by f_t.) Diagonal products count as direct: φ′ ⊙ u of an IndRNN, λ of an
LRU.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float

from rnnjax.probes.adjoints.norms import state_names
from rnnjax.probes.backward.walk import Walk, Walked, in_order
from rnnjax.probes.factors.slope_times_weight import log10_ratio
from rnnjax.probes.factors.slopes import starts, valid_steps
from rnnjax.recurrence import scaled
from rnnjax.recurrence.functional import call
from rnnjax.recurrence.scaled import NO_EXPONENT, Scaled
from rnnjax.recurrence.step import choose


@struct.dataclass
class DirectPath:
    """D_t of every step, in the order of the input.

    Attributes:
        block: ``(T, B, S, S, n)``: entry i, j is ∂(array i)_t/∂(array j)_{t−1} for each
            unit; the identity on padding, 0 at a reset or a cut.
        valid: ``(T, B)``, False on padding.
        names: names of the S state arrays; a complex one counts as two, `h.re` and
            `h.im`.
    """

    block: Float[Array, "T B S S n"]
    valid: Bool[Array, "T B"]
    names: tuple[str, ...] = struct.field(pytree_node=False)


def direct_path(walked: Walked) -> DirectPath:
    """D_t by forward mode through a step whose dense and block products are held fixed.

    Costs a forward pass, then 2 S passes of the pointwise part of every step, and
    O(T B n S²) memory; works under `jit`. NaN for a cell that mixes its units outside
    its seams (a norm over units, a product written with ``@``), because such a cell has
    no pointwise direct path. This is detected with a second set of tangents, which are
    powers of two that differ between units.

    Raises:
        ValueError: the state arrays of the cell differ in size.
    """
    cell, weights, drive = walked.cell, walked.weights, walked.drive
    leaves, treedef = jax.tree.flatten(walked.initial)
    if len({x.shape[-1] for x in leaves}) > 1:
        raise ValueError(f"the state arrays of {type(cell).__name__} differ in size")
    parts = _real_parts(leaves)
    smallest = 1e3 * jnp.finfo(parts[0].dtype).tiny  # below, scaled tangents underflow
    n, random = leaves[0].shape[-1], np.random.default_rng(0)
    unlike = random.permutation(2.0 ** (np.arange(n) % 8)) * random.choice([-1, 1], n)

    def step(state: Any, values: Any) -> tuple[Array, Array]:
        _, seams = call(cell, weights, "step", state, values)
        held = {s: x.output for s, x in seams.items() if x.form != "diagonal"}

        def free(real: Array) -> Array:
            whole = treedef.unflatten(_from_real(real, leaves))
            new, _ = call(cell, weights, "step", whole, values, held=held)
            return jnp.stack(_real_parts(jax.tree.leaves(new)))

        at = jnp.stack(_real_parts(jax.tree.leaves(state)))
        scale = jnp.broadcast_to(jnp.asarray(unlike, at.dtype), at.shape[1:])[None]
        columns, mixed = [], jnp.zeros((), bool)
        for j in range(len(at)):
            ones = jnp.zeros_like(at).at[j].set(1.0)
            new, column = jax.jvp(free, (at,), (ones,))
            other = jax.jvp(free, (at,), (ones * scale,))[1] / scale
            # a slope at NaN may be computed as 0, although the path is undefined
            column = jnp.where(jnp.isnan(new), jnp.nan, column)
            far = jnp.abs(other - column) > 1e-4 * jnp.abs(column) + smallest
            columns.append(column)
            mixed = mixed | jnp.any(far & jnp.isfinite(column))
        return jnp.stack(columns, axis=1), mixed  # (S, S, B, n), ()

    block, mixed = jax.vmap(step)(starts(walked), drive.values)
    block = jnp.where(jnp.any(mixed), jnp.nan, jnp.moveaxis(block, 3, 1))
    kept = jnp.eye(len(parts), dtype=block.dtype)[None, None, :, :, None]
    valid = valid_steps(walked)

    def where(mask: Array, a: Array, b: Array) -> Array:
        return jnp.where(mask[..., None, None, None], a, b)

    if drive.reset is not None:
        block = where(drive.reset, jnp.zeros_like(block), block)
    block = where(valid, block, jnp.broadcast_to(kept, block.shape))
    if drive.cut is not None:
        block = where(drive.cut, jnp.zeros_like(block), block)
    block, valid = in_order((block, valid), walked.backwards)
    return DirectPath(block=block, valid=valid, names=_part_names(walked.initial))


def retention(direct: DirectPath) -> Float[Array, "T B n"]:
    """How much of its state each unit keeps over a step: the spectral radius of D_t.

    |f_t| for an LSTM, z_t for a GRU, |λ| for an LRU, 0 for an Elman cell; NaN on
    padding. In closed form for one or two state arrays; LAPACK (on a CPU) for more.
    """
    block = direct.block
    if block.shape[2] == 1:
        radius = jnp.abs(block[:, :, 0, 0])
    elif block.shape[2] == 2:
        # squares of small entries would underflow
        top = jnp.max(jnp.abs(block), axis=(2, 3), keepdims=True)
        unit = block / jnp.where(top > 0, top, jnp.ones_like(top))
        a, b, c, d = (unit[:, :, i, j] for i in (0, 1) for j in (0, 1))
        half, gap = 0.5 * (a + d), 0.5 * (a - d)
        square = gap * gap + b * c
        real = jnp.abs(half) + jnp.sqrt(jnp.maximum(square, 0.0))
        pair = jnp.sqrt(half * half + jnp.maximum(-square, 0.0))
        radius = jnp.where(square < 0, pair, real) * top[:, :, 0, 0]
    else:
        values = jnp.linalg.eigvals(scaled.wide(jnp.moveaxis(block, 4, 2)))
        radius = jnp.max(jnp.abs(values), axis=-1)
    return jnp.where(direct.valid[..., None], radius, jnp.nan)


def direct_adjoint(walk: Walk, direct: DirectPath) -> Scaled:
    """The adjoint of the last step that has one, sent back along the direct path only.

    For an LSTM this multiplies it by all later forget gates. Mantissas
    ``(T, B, S, n)``, exponents ``(T, B)``, in the order of the input; zero after that
    last step. Loss gradients that enter at earlier steps (a loss at every step, a lower
    layer) are not included.
    """
    walked = walk.forward
    adjoint, block = in_order((walk.adjoint, direct.block), walked.backwards)
    full = Scaled(_gradient_parts(adjoint.mantissa), adjoint.exponent)
    some = full.exponent > NO_EXPONENT
    # True from the last step with an adjoint on
    after = lax.cumsum(some.astype(jnp.int32), axis=0, reverse=True) == 0
    last = some & jnp.concatenate([after[1:], jnp.ones_like(after[:1])])

    def back(carry: Scaled, now: Any) -> tuple[Scaled, Scaled]:
        own, at_last, d = now
        here = Scaled(
            choose(at_last, own.mantissa, carry.mantissa),
            jnp.where(at_last, own.exponent, carry.exponent),
        )
        # not an einsum: XLA would turn that into a matrix product of lower precision
        through = jnp.sum(d * here.mantissa[:, :, None], axis=1)
        return scaled.normalise(Scaled(through, here.exponent)), here

    nothing = Scaled(
        jnp.zeros_like(full.mantissa[0]),
        jnp.full_like(full.exponent[0], NO_EXPONENT),
    )
    _, found = lax.scan(back, nothing, (full, last, block), reverse=True)
    return in_order(found, walked.backwards)


def direct_share(walk: Walk, direct: DirectPath) -> Float[Array, "T B"]:
    """log10 of ‖adjoint along the direct path‖ / ‖λ_t‖.

    0 where the direct path carries the whole adjoint, positive where other paths cancel
    part of it, −inf for a cell without a direct path. NaN on padding, and where λ_t is
    zero. The adjoint should be a lagged one.
    """
    known = direct.valid & (scaled.log10_norm(walk.adjoint) > -jnp.inf)
    ratio = log10_ratio(direct_adjoint(walk, direct), walk.adjoint)
    return jnp.where(known, ratio, jnp.nan)


def _real_parts(leaves: list[Any]) -> list[Array]:
    parts = []
    for x in leaves:
        parts += [x.real, x.imag] if jnp.iscomplexobj(x) else [x]
    return parts


def _from_real(real: Array, like: list[Any]) -> list[Array]:
    rows = iter(real)
    return [
        lax.complex(next(rows), next(rows)) if jnp.iscomplexobj(x) else next(rows)
        for x in like
    ]


def _gradient_parts(adjoint: Any) -> Float[Array, "T B S n"]:
    """∂L/∂(real parts) from a cotangent; JAX's for x + iy is ∂L/∂x − i ∂L/∂y."""
    parts = []
    for x in jax.tree.leaves(adjoint):
        parts += [x.real, -x.imag] if jnp.iscomplexobj(x) else [x]
    return jnp.stack(parts, axis=-2)


def _part_names(state: Any) -> tuple[str, ...]:
    names = []
    for name, x in zip(state_names(state)[1:], jax.tree.leaves(state), strict=True):
        names += [f"{name}.re", f"{name}.im"] if jnp.iscomplexobj(x) else [name]
    return tuple(names)
