"""Jacobians J_t = ∂h_t/∂h_{t−1} of the joint state, and their spectra.

There are two methods. *Exact*: form the matrix with N Jacobian-vector products of one
step and use a dense decomposition, for N up to `DENSE_LIMIT` or for selected steps and
examples. *Matrix-free*: only the leading singular values, by Lanczos iteration on JᵀJ
with the `jvp` and `vjp` of one step; no N × N array is ever formed.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax import lax
from jaxtyping import Array, Bool, Complex, Float

from rnnjax.executables.functions import kept_jit
from rnnjax.probes.backward.walk import Walked
from rnnjax.probes.dynamics.graded_product import GradedProduct, double
from rnnjax.probes.dynamics.joint_state import (
    at_steps,
    joint_before,
    joint_step,
    select,
)
from rnnjax.recurrence.step import Drive


DENSE_LIMIT = 512
"""Largest N for which `leading_singular_values` forms the Jacobian by default: one
float32 matrix is then 1 MiB and its singular values take 0.1 s."""

DROWNED = 1e-12
"""Fraction of the largest singular value below which a value is dominated by rounding.
"""

Steps = Any
"""Step numbers in walk order (a sequence or an array), or None for all steps."""


def jacobians(walked: Walked, steps: Steps = None) -> Float[Array, "steps B N N"]:
    """J_t of the joint state along the stored trajectory.

    Entry ``[…, i, j]`` is ∂(new)_i/∂(old)_j. The identity on padding, zero at a reset;
    of the dtype of the state. Pure, works under `jit`. Costs N Jacobian-vector products
    per step and O(steps · B · N²) memory: meant for small N, or for few steps and
    examples (`joint_state.select`).

    Args:
        walked: the walk; its states are not recomputed.
        steps: which steps, in walk order; step t leads from the state after step t − 1
            to the state after step t.
    """
    at, drive = joint_before(walked), walked.drive
    if steps is not None:
        which = jnp.asarray(steps, jnp.int32)
        at, drive = at[which], at_steps(drive, which)
    basis = jnp.eye(at.shape[-1], dtype=at.dtype)

    def one(now: tuple[Array, Drive]) -> Array:
        state, drive_t = now

        def column(e: Array) -> Array:
            tangent = jnp.broadcast_to(e[None], state.shape)
            return push(walked, state, drive_t, tangent)

        return jax.vmap(column, out_axes=-1)(basis)

    return lax.map(one, (at, drive))


def push(
    walked: Walked,
    state: Float[Array, "B N"],
    drive: Drive,
    tangent: Float[Array, "B N"],
) -> Float[Array, "B N"]:
    """J v for each example, for one step from `state` with `drive` ``(B, ·)``.

    NaN wherever the new state is NaN, even if a slope of 0 would hide that.
    """
    run = lambda h: joint_step(walked, h, drive)
    new, along = jax.jvp(run, (state,), (tangent,))
    return jnp.where(_lost(new, drive), jnp.nan, along)


def pull(
    walked: Walked,
    state: Float[Array, "B N"],
    drive: Drive,
    cotangent: Float[Array, "B N"],
) -> Float[Array, "B N"]:
    """Jᵀ u for each example, for one step from `state` with `drive` ``(B, ·)``.

    NaN for an example whose new state contains NaN.
    """
    new, back = jax.vjp(lambda h: joint_step(walked, h, drive), state)
    lost = jnp.any(_lost(new, drive), axis=-1, keepdims=True)
    return jnp.where(lost, jnp.nan, back(cotangent)[0])


def _lost(new: Float[Array, "B N"], drive: Drive) -> Bool[Array, "B N"]:
    """Entries of the new state that are NaN; padding has no new state, hence False."""
    lost = jnp.isnan(new)
    return lost if drive.valid is None else lost & drive.valid[:, None]


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Spectra of a stack of square matrices, float64; NaN for one that is not finite.

    Attributes:
        singular_values: largest first.
        eigenvalues: largest modulus first.
        norm: spectral norm ‖J‖₂, the largest singular value.
        departure: Henrici's departure from normality, sqrt(‖J‖_F² − Σ|λ|²); zero for a
            normal matrix, whose powers grow like its eigenvalues. Henrici (1962),
            "Bounds for iterates, inverses, spectral variation and fields of values of
            non-normal matrices", in the Frobenius norm (others take the 2-norm of the
            strictly triangular part, or ‖JJᵀ − JᵀJ‖).
        relative_departure: `departure` / ‖J‖_F, in [0, 1]; 0 for J = 0.
    """

    singular_values: Float[np.ndarray, "*stack N"]
    eigenvalues: Complex[np.ndarray, "*stack N"]
    norm: Float[np.ndarray, "*stack"]
    departure: Float[np.ndarray, "*stack"]
    relative_departure: Float[np.ndarray, "*stack"]


def spectrum(matrices: Any) -> Spectrum:
    """Singular values, eigenvalues and non-normality of matrices ``(*stack, N, N)``.

    On the host, in float64, with one Schur form and one singular value decomposition
    per matrix: O(N³) each, about a second at N = 1000. A dead unit, which is a row or a
    column of zeros, gives an exact zero. Where units are so saturated that small
    singular values would be lost in the rounding of the largest, they are computed by
    `graded_product`. The departure is the Frobenius norm of the strictly triangular
    part of the Schur form, because the difference of squares loses half the digits.
    """
    stack, eps = double(matrices)
    shape, n = stack.shape[:-2], stack.shape[-1]
    flat = stack.reshape(-1, n, n)
    singular = np.full((len(flat), n), np.nan)
    eigen = np.full((len(flat), n), np.nan, np.complex128)
    departure = np.full(len(flat), np.nan)
    relative = np.full(len(flat), np.nan)
    for k, matrix in enumerate(flat):
        if not np.all(np.isfinite(matrix)):
            continue
        singular[k] = _singular_values(matrix, eps)
        form: Any = scipy.linalg.schur(matrix, output="complex")[0]
        values = np.diag(form)
        eigen[k] = values[np.argsort(-np.abs(values), kind="stable")]
        departure[k] = np.linalg.norm(np.triu(form, 1))
        size = np.linalg.norm(matrix)
        relative[k] = departure[k] / size if size > 0 else 0.0
    return Spectrum(
        singular_values=singular.reshape(*shape, n),
        eigenvalues=eigen.reshape(*shape, n),
        norm=singular[:, 0].reshape(shape),
        departure=departure.reshape(shape),
        relative_departure=relative.reshape(shape),
    )


def _singular_values(matrix: np.ndarray, eps: float) -> np.ndarray:
    """All singular values, largest first; `eps` is the rounding unit of the entries."""
    values = np.zeros(len(matrix))
    inner = matrix[np.ix_(np.any(matrix, axis=1), np.any(matrix, axis=0))]
    if inner.size == 0:
        return values
    found = scipy.linalg.svdvals(inner)
    values[: len(found)] = found
    if found[-1] < DROWNED * found[0]:
        product = GradedProduct(len(matrix), eps)
        product.push(matrix)
        values = np.exp(product.log_singular_values())
    return values


Method = Literal["auto", "exact", "lanczos"]


def leading_singular_values(
    walked: Walked, k: int = 6, steps: Steps = None, method: Method = "auto"
) -> Float[np.ndarray, "steps B k"]:
    """The k largest singular values of each J_t, largest first; on the host.

    Args:
        walked: the walk.
        k: how many, at most N (`exact`) or N − 1 (`lanczos`).
        steps: which steps, in walk order; None: all.
        method: `exact` forms J_t (`jacobians`); `lanczos` does not, and needs a few
            dozen products J v and Jᵀ u per matrix, each of which takes a fraction of a
            millisecond or more; `auto` is `exact` for N ≤ `DENSE_LIMIT` and `lanczos`
            above.

    The values are NaN if J_t is not finite. Source: ARPACK (Lehoucq, Sorensen & Yang
    1998) as included in SciPy, implicitly restarted Lanczos with re-orthogonalisation.
    PROPACK, which bidiagonalises J itself, is 10 % off on orthogonal matrices (SciPy
    1.17).

    Raises:
        ValueError: k is out of range.
    """
    at = joint_before(walked)
    length, batch, n = at.shape
    which = np.arange(length) if steps is None else np.asarray(steps)
    if method == "auto":
        method = "exact" if n <= DENSE_LIMIT else "lanczos"
    limit = n if method == "exact" else n - 1
    if not 1 <= k <= limit:
        raise ValueError(f"k = {k} is not between 1 and {limit}")
    out = np.empty((len(which), batch, k))
    for b in range(batch):
        alone = select(walked, [b])
        for row, t in enumerate(which):
            if method == "exact":
                matrix = np.asarray(_jacobians(alone, np.array([t]))[0, 0], np.float64)
                values = np.full(k, np.nan)
                if np.all(np.isfinite(matrix)):
                    values = scipy.linalg.svdvals(matrix)[:k]
            else:
                now = at_steps(alone.drive, int(t))
                values = _lanczos(alone, at[t, b : b + 1], now, k)
            out[row, b] = values
    return out


_jacobians = kept_jit(jacobians)
_push = kept_jit(push)
_pull = kept_jit(pull)


def _lanczos(walked: Walked, state: Array, drive: Drive, k: int) -> np.ndarray:
    """The k leading singular values of one J, largest first."""
    n = state.shape[-1]
    dtype: Any = np.dtype(state.dtype)

    def through(product: Any) -> Any:
        def apply(v: np.ndarray) -> np.ndarray:
            vector = np.asarray(v, dtype).reshape(1, n)
            return np.asarray(product(walked, state, drive, vector))[0]

        return apply

    solvers = scipy.sparse.linalg
    make: Any = solvers.LinearOperator
    operator = make((n, n), through(_push), through(_pull), dtype=dtype)
    start = np.random.default_rng(0).standard_normal(n).astype(dtype)
    seen = operator.matvec(start)
    if not np.all(np.isfinite(seen)):
        return np.full(k, np.nan)
    if not np.any(seen):  # J is zero; ARPACK fails on a start vector in the null space
        return np.zeros(k)
    values: Any = solvers.svds(operator, k=k, v0=start, return_singular_vectors=False)
    return np.sort(np.asarray(values, np.float64))[::-1]
