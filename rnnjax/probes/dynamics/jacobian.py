"""Jacobians J_t = ∂h_t/∂h_{t−1} of the joint state, and what their spectra say.

Two ways. *Exact*: the matrix from N Jacobian-vector products of one step, then a dense
decomposition; for N up to `DENSE_LIMIT`, or for chosen steps and examples. *Matrix
free*: the leading singular values alone by Lanczos' method on JᵀJ through `jvp` and
`vjp` of one step; no N × N array exists.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import lax
from jaxtyping import Array, Bool, Complex, Float
from scipy.sparse import linalg as sparse

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
"""Largest N for which `leading_singular_values` forms the Jacobian by itself: one
float32 matrix is then 1 MiB and its singular values take 0.1 s."""

DROWNED = 1e-12
"""Part of the largest singular value below which rounding tells in a small one."""

Steps = Any
"""Step numbers in the order of the walk (a sequence or an array), or None for all."""


def jacobians(walked: Walked, steps: Steps = None) -> Float[Array, "steps B N N"]:
    """J_t of the joint state around the stored trajectory; entry ``[…, i, j]`` is
    ∂(new)_i/∂(old)_j.

    The identity on padding, zero at a reset. Pure, works under `jit`; dtype of the
    state. Costs N Jacobian-vector products a step and O(steps · B · N²) memory: meant
    for a small N, or for few steps and examples (`joint.select`).

    Args:
        walked: the walk; its states are not computed again.
        steps: which steps, in the order of the walk; step t leads from the state after
            step t − 1 to that after step t.
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
    """J v of each example, for the step that `drive` ``(B, ·)`` makes from `state`.

    NaN in the entries of the new state that are NaN, whatever the slopes are there.
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
    """Jᵀ u of each example, for the step that `drive` ``(B, ·)`` makes from `state`.

    NaN for an example whose new state has an entry that is NaN.
    """
    new, back = jax.vjp(lambda h: joint_step(walked, h, drive), state)
    lost = jnp.any(_lost(new, drive), axis=-1, keepdims=True)
    return jnp.where(lost, jnp.nan, back(cotangent)[0])


def _lost(new: Float[Array, "B N"], drive: Drive) -> Bool[Array, "B N"]:
    """Entries of the new state that are NaN; padding makes no new state."""
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
            normal matrix, whose powers grow as its eigenvalues say. Henrici (1962),
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

    On the host, in float64, one Schur form and one set of singular values a matrix:
    O(N³) each, a second at N = 1000. A dead unit, a row or a column of zeros, gives an
    exact zero; where units saturate so far that small singular values would drown in
    the rounding of the largest, they come from `graded_product`. The departure is the
    Frobenius norm of the Schur form's strictly triangular part: the difference of
    squares loses half the digits.
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
    """All singular values, largest first; `eps` is one rounding of the entries."""
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
        steps: which steps, in the order of the walk; None: all.
        method: `exact` forms J_t (`jacobians`); `lanczos` does not, and needs some tens
            of products J v and Jᵀ u a matrix, each a fraction of a millisecond and up;
            `auto` is `exact` for N ≤ `DENSE_LIMIT` and `lanczos` above.

    A J_t that is not finite has NaN. Source: ARPACK (Lehoucq, Sorensen & Yang 1998) as
    SciPy carries it, implicitly restarted Lanczos with re-orthogonalisation. PROPACK,
    which bidiagonalises J itself, is 10 % off on orthogonal matrices (SciPy 1.17).

    Raises:
        ValueError: k is out of range.
    """
    at = joint_before(walked)
    length, batch, n = at.shape
    which = np.arange(length) if steps is None else np.asarray(steps)
    if method == "auto":
        method = "exact" if n <= DENSE_LIMIT else "lanczos"
    most = n if method == "exact" else n - 1
    if not 1 <= k <= most:
        raise ValueError(f"k = {k} is not between 1 and {most}")
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


_jacobians = jax.jit(jacobians)
_push = jax.jit(push)
_pull = jax.jit(pull)


def _lanczos(walked: Walked, state: Array, drive: Drive, k: int) -> np.ndarray:
    """The k leading singular values of one J, largest first."""
    n = state.shape[-1]
    dtype: Any = np.dtype(state.dtype)

    def through(product: Any) -> Any:
        def apply(v: np.ndarray) -> np.ndarray:
            vector = np.asarray(v, dtype).reshape(1, n)
            return np.asarray(product(walked, state, drive, vector))[0]

        return apply

    make: Any = sparse.LinearOperator
    operator = make((n, n), through(_push), through(_pull), dtype=dtype)
    start = np.random.default_rng(0).standard_normal(n).astype(dtype)
    seen = operator.matvec(start)
    if not np.all(np.isfinite(seen)):
        return np.full(k, np.nan)
    if not np.any(seen):  # J is zero, and ARPACK refuses a start that it loses
        return np.zeros(k)
    values: Any = sparse.svds(operator, k=k, v0=start, return_singular_vectors=False)
    return np.sort(np.asarray(values, np.float64))[::-1]
