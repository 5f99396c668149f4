"""Lyapunov exponents of a driven layer, along its stored trajectory.

Sources: Benettin, Galgani, Giorgilli & Strelcyn (1980), "Lyapunov characteristic
exponents", Meccanica 15, part 2; for recurrent networks Engelken, Wolf & Abbott (2023,
preprint 2020), "Lyapunov spectra of chaotic recurrent neural networks", Phys. Rev.
Research 5, and Vogt, Puelma Touzel, Shlizerman & Lajoie (2022, preprint 2020), "On
Lyapunov exponents for RNNs", Frontiers Appl. Math. Stat. 8.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from rnnjax.probes.backward.walk import Walked
from rnnjax.probes.dynamics.graded_product import ROUNDING
from rnnjax.probes.dynamics.jacobian import push
from rnnjax.probes.dynamics.joint_state import joint_before, joint_size
from rnnjax.recurrence.scaled import wide
from rnnjax.recurrence.step import Drive
from rnnjax.types import wide_type


BLOCKS = 10
"""Number of blocks of consecutive steps whose means give the standard error."""


@struct.dataclass
class Lyapunov:
    """Conditional Lyapunov exponents: those of a network given its input.

    All logarithms are natural; exponents are in nats per step, and a positive one means
    chaos. They are in the order of the tangent vectors, which is descending once the
    tangents have aligned with the directions of growth: after a short walk, neighbours
    may still be swapped.

    Attributes:
        exponents: exponents of each example; −inf where a direction is lost (a zero
            singular value in some J_t), NaN for an example with no step after the
            transient or with a J_t that is not finite: an exploded state has no
            exponents.
        error: standard error from the means of `BLOCKS` blocks of steps; 0 for −inf,
            NaN for NaN and for fewer than two blocks. It is too small if blocks are
            correlated.
        drift: exponent over all steps minus that over the first half of them; if it is
            far from zero, the walk is too short. 0 for −inf.
        steps: number of steps averaged over, for each example.
        mean: mean of `exponents` over the examples in which they are finite; −inf if
            they are −inf in all, NaN if a J_t of any example is not finite.
        spread: standard deviation over the same examples (normalised by n − 1); 0 for
            a single example.
        zeros: number of examples in which the exponent is −inf.
        growth: logarithm of the stretching at each step, in walk order; the exponents
            are its means over the steps in `counted`.
        counted: which steps are averaged over.
    """

    exponents: Float[Array, "B k"]
    error: Float[Array, "B k"]
    drift: Float[Array, "B k"]
    steps: Int[Array, "B"]
    mean: Float[Array, "k"]
    spread: Float[Array, "k"]
    zeros: Int[Array, "k"]
    growth: Float[Array, "T B k"]
    counted: Bool[Array, "T B"]


def lyapunov(
    walked: Walked, k: int | None = None, transient: int = 0, every: int = 1
) -> Lyapunov:
    """The k leading Lyapunov exponents of the joint state, for each example.

    Benettin's method: k orthonormal tangents ``(B, N, k)`` are propagated along the
    walk by Jacobian-vector products, so that J is never formed, and re-orthonormalised
    by QR, the diagonal of which gives the growth. Padding is skipped. At a reset every
    direction is lost.

    Pure, works under `jit` (with static `k`, `transient` and `every`), but not inside a
    pack of runs, because it calls batched LAPACK. Per step it costs k Jacobian-vector
    products and one QR in O(B N k²); it stores T · B · k numbers. Exponents have the
    precision of the state's dtype: a direction that shrinks within one step to a few
    roundings of its own column and row of J Q cannot be distinguished from a lost one,
    and gives −inf.

    Args:
        walked: the walk; its states are not recomputed.
        k: number of exponents; None: all N of them.
        transient: number of first valid steps that are not averaged over, during which
            the tangents align and the state approaches its attractor.
        every: number of steps between two QR decompositions (one is always done after
            the transient). It must be small enough that the tangents do not align in
            between. Sums over all steps are exact; the boundaries of blocks are off by
            up to this many steps.

    Raises:
        ValueError: k, transient or every is out of range.
    """
    n = joint_size(walked.initial)
    k = n if k is None else k
    if not 1 <= k <= n:
        raise ValueError(f"k = {k} is not between 1 and {n}")
    if transient < 0 or every < 1:
        raise ValueError(
            f"transient = {transient} must be at least 0, every = {every} at least 1"
        )
    at = joint_before(walked)
    length, batch = at.shape[:2]
    valid = walked.drive.valid
    valid = jnp.ones((length, batch), bool) if valid is None else valid
    rank = jnp.cumsum(valid, axis=0, dtype=jnp.int32) - 1
    number = jnp.arange(1, length + 1)
    due = (number % every == 0) | (number == length)
    due |= jnp.any(valid & (rank == transient - 1), axis=1)
    growth = _growth(walked, at, due, k)
    return _summary(growth, valid & (rank >= transient), rank - transient)


def kaplan_yorke(exponents: Float[np.ndarray, "k"], size: int | None = None) -> float:
    """Kaplan and Yorke's dimension of an attractor, j + Σ_{i≤j} λ_i / |λ_{j+1}|.

    j is the largest number of leading exponents whose sum is not negative. On the host.
    Source: Kaplan & Yorke (1979).

    Args:
        exponents: in any order.
        size: N, if these are only the leading exponents.

    Returns:
        The dimension: 0 if all exponents are negative, k if the sum of all k is not
        negative; NaN in the latter case if k is less than `size`, and if an exponent is
        NaN.

    >>> kaplan_yorke(np.array([0.5, 0.0, -1.0]))
    2.5
    >>> kaplan_yorke(np.array([0.5, -np.inf]))
    1.0
    """
    values = np.sort(np.asarray(exponents, np.float64))[::-1]
    if np.any(np.isnan(values)):
        return float("nan")
    sums = np.cumsum(values)
    j = int(np.sum(sums >= 0))
    if j == values.size:
        return float(j) if size is None or size == j else float("nan")
    return j + (float(sums[j - 1] / -values[j]) if j else 0.0)


def _growth(
    walked: Walked, at: Float[Array, "T B N"], due: Bool[Array, "T"], k: int
) -> Float[Array, "T B k"]:
    """ln of the diagonal of R at every step; zeros where no QR is due."""
    batch, n = at.shape[1:]
    # Random tangents, because unit vectors would be invariant under a diagonal
    # recurrence. At least 32 bits: in 16 bits other directions would be drawn.
    start = jax.random.normal(jax.random.key(0), (n, k), wide_type(at.dtype))
    start = jnp.linalg.qr(start)[0].astype(at.dtype)
    start = jnp.broadcast_to(start[None], (batch, n, k))

    def forward(
        tangents: Array, now: tuple[Array, Drive, Array]
    ) -> tuple[Array, Array]:
        state, drive_t, due_t = now

        def along(v: Array) -> Array:
            return push(walked, state, drive_t, v)

        tangents = jax.vmap(along, in_axes=-1, out_axes=-1)(tangents)

        def leave(x: Array) -> tuple[Array, Array]:
            return x, jnp.zeros((batch, k), wide(x).dtype)

        return lax.cond(due_t, _orthonormal, leave, tangents)

    return lax.scan(forward, start, (at, walked.drive, due))[1]


def _orthonormal(x: Float[Array, "B N k"]) -> tuple[Array, Array]:
    """Q of each ``(N, k)``, and ln|R_ii| with −inf for a direction that is lost.

    Rows are sorted by size because of saturated units (Cox & Higham 1998): a small row
    then keeps its own relative accuracy, and a row of zeros stays zero.
    """
    k, given = x.shape[-1], x.dtype
    x = wide(x)
    size = jnp.linalg.norm(x, axis=-1)
    rows = jnp.argsort(-size, axis=-1)
    q, r = jnp.linalg.qr(jnp.take_along_axis(x, rows[..., None], axis=1))
    q = jnp.take_along_axis(q, jnp.argsort(rows, axis=-1)[..., None], axis=1)
    diagonal = jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))
    row_size = jnp.take_along_axis(size, rows, axis=-1)[:, :k]
    floor = jnp.minimum(row_size, jnp.linalg.norm(x, axis=1))
    floor = floor * (ROUNDING * jnp.finfo(given).eps)
    lost = diagonal <= floor
    log = jnp.log(jnp.where(lost, jnp.ones_like(diagonal), diagonal))
    return q.astype(given), jnp.where(lost, -jnp.inf, log)


def _summary(
    growth: Float[Array, "T B k"], counted: Bool[Array, "T B"], rank: Int[Array, "T B"]
) -> Lyapunov:
    """Means, errors and spread; `rank` numbers the steps averaged over, from 0."""
    dtype = growth.dtype
    # Lost directions are handled separately, since −inf · 0 is NaN. With `every` > 1
    # the growth of the last valid steps may be recorded on the padding after them.
    after = (rank >= 0)[..., None]
    lost = jnp.any(jnp.isneginf(growth) & after, axis=0)
    steady = jnp.where(jnp.isneginf(growth) | ~after, 0.0, growth)
    steps = jnp.sum(counted, axis=0, dtype=jnp.int32)

    def mean_over(which: Array) -> Array:
        """Means over steps ``(T, B)``; NaN over none of them."""
        number = jnp.sum(which & counted, axis=0).astype(dtype)
        total = jnp.sum(jnp.where(which[..., None], steady, 0.0), axis=0)
        mean = total / jnp.where(number > 0, number, 1.0)[:, None]
        return jnp.where(number[:, None] > 0, mean, jnp.nan)

    whole = mean_over(rank >= 0)
    half = mean_over((rank >= 0) & (rank < (steps[None] + 1) // 2))
    block = jnp.clip(rank, 0) * BLOCKS // jnp.where(steps > 0, steps, 1)[None]
    block = jnp.where(rank >= 0, jnp.minimum(block, BLOCKS - 1), -1)
    means = lax.map(lambda number: mean_over(block == number), jnp.arange(BLOCKS))
    seen = jnp.sum(~jnp.isnan(means), axis=0).astype(dtype)
    error = jnp.nanstd(means, axis=0, ddof=1) / jnp.sqrt(jnp.maximum(seen, 1.0))
    error = jnp.where(seen > 1, error, jnp.nan)

    any_step = (steps > 0)[:, None]
    broken = any_step & ~jnp.isfinite(whole)
    lost &= any_step & ~broken
    whole, half, error = (
        jnp.where(broken, jnp.nan, each) for each in (whole, half, error)
    )
    exponents = jnp.where(lost, -jnp.inf, whole)
    finite = jnp.isfinite(exponents)
    number = jnp.sum(finite, axis=0).astype(dtype)
    some = jnp.where(finite, exponents, 0.0)
    mean = jnp.sum(some, axis=0) / jnp.maximum(number, 1.0)
    squares = jnp.sum(jnp.where(finite, jnp.square(some - mean[None]), 0.0), axis=0)
    zeros = jnp.sum(jnp.isneginf(exponents), axis=0, dtype=jnp.int32)
    none = jnp.where(zeros > 0, -jnp.inf, jnp.nan)
    unknown = jnp.any(broken, axis=0)
    return Lyapunov(
        exponents=exponents,
        error=jnp.where(lost, 0.0, error),
        drift=jnp.where(lost, 0.0, whole - half),
        steps=steps,
        mean=jnp.where(unknown, jnp.nan, jnp.where(number > 0, mean, none)),
        spread=jnp.where(
            unknown, jnp.nan, jnp.sqrt(squares / jnp.maximum(number - 1, 1.0))
        ),
        zeros=zeros,
        growth=growth,
        counted=counted,
    )
