"""All singular values of a propagator P_{t→s} = J_s … J_{t+1}, as logarithms.

After a few dozen steps a product of Jacobians has one singular value left in floating
point: the others drown in the rounding of the largest. Here the product is never
formed. It is carried as P = Q D T, Q orthogonal, D diagonal and held as logarithms,
largest first, T a well-conditioned matrix: the *graded QR* of Stewart. The logarithms
of D are not those of the singular values, because T is not orthogonal; those come from
a one-sided Jacobi iteration on D T, which keeps the relative accuracy of every singular
value of a graded matrix (Demmel & Veselić), done on columns with scales of their own.

Sources: Stewart (1995), "On graded QR decompositions of products of matrices", ETNA 3;
Demmel & Veselić (1992), "Jacobi's method is more accurate than QR", SIAM J. Matrix
Anal. Appl. 13; Cox & Higham (1998) for the sorting of rows.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from rnnjax.probes.jacobian import jacobians
from rnnjax.probes.joint import select
from rnnjax.probes.walk import Walked


ROUNDING = 4.0
"""What is left of a column is zero below this many roundings of what was there."""

UNEVEN = 1e-2
"""Ratio of column sizes of a factor below which they are split off."""

MOST_SWEEPS = 60


@dataclasses.dataclass(frozen=True)
class PropagatorSpectrum:
    """The singular values σ_i of a propagator; logarithms are natural.

    Attributes:
        log_singular_values: ln σ_i, largest first; −inf for an exact zero (a dead
            unit), NaN throughout if a Jacobian is not finite.
        log10_condition: log10 σ_1/σ_N; inf if σ_N is zero.
        mean_log: mean of ln σ_i over the non-zero ones; −inf if there is none.
        variance_log: their variance (of the set, not an estimate). Both zero is
            dynamical isometry: Saxe, McClelland & Ganguli (2014); Pennington,
            Schoenholz & Ganguli (2017), who take the moments of σ² instead.
        zeros: number of exact zeros.
    """

    log_singular_values: Float[np.ndarray, "N"]
    log10_condition: float
    mean_log: float
    variance_log: float
    zeros: int


def log_singular_values(matrices: Any) -> Float[np.ndarray, "N"]:
    """ln of all singular values of J_T … J_1, largest first.

    On the host, in float64. Every value has the relative accuracy that the factors
    allow: about T · κ(J) roundings, however many decades the product spans. A direction
    that is left with less than some roundings of the dtype given, of its row as of its
    column, is taken as lost: −inf. So is one that meets a row of zeros.

    Costs O(T N³) and some N rounds for each of the few sweeps of the Jacobi iteration:
    20 ms for T = 200 and N = 16, 0.3 s for N = 128, 2 s for N = 256.

    Args:
        matrices: the factors ``(T, N, N)`` in the order in which they act, J_1 first.
    """
    given = np.asarray(matrices)
    precise = np.issubdtype(given.dtype, np.floating)
    eps = float(np.finfo(given.dtype if precise else np.float64).eps)
    stack = given.astype(np.float64)
    n = stack.shape[-1]
    if not np.all(np.isfinite(stack)):
        return np.full(n, np.nan)
    product = _Graded(n, eps)
    for matrix in stack:
        product.push(matrix)
    return product.log_singular_values()


def propagator_spectrum(matrices: Any) -> PropagatorSpectrum:
    """Singular values of J_T … J_1 and what they say; see `log_singular_values`."""
    return _summary(log_singular_values(matrices))


def spectrum_over_lag(
    matrices: Any, lags: Sequence[int]
) -> Float[np.ndarray, "lags N"]:
    """ln σ of P_{s−l→s} for several lags l back from the last step s.

    The product grows to the left in time, as the lagged adjoint does; one pass serves
    all lags. Costs as `log_singular_values`.

    Args:
        matrices: J ``(T, N, N)``, the last one that of step s.
        lags: numbers of factors, each from 0 (the identity) to T, in any order.

    Raises:
        ValueError: a lag is out of range.
    """
    given = np.asarray(matrices)
    length, n = given.shape[0], given.shape[-1]
    if any(not 0 <= lag <= length for lag in lags):
        raise ValueError(f"lags {list(lags)} are not all between 0 and {length}")
    eps = float(np.finfo(given.dtype).eps)
    product, found = _Graded(n, eps), {0: np.zeros(n)}
    for lag in range(1, max(lags, default=0) + 1):
        matrix = given[length - lag].astype(np.float64)
        if not np.all(np.isfinite(matrix)):
            break
        product.push(matrix.T)
        if lag in lags:
            found[lag] = product.log_singular_values()
    lost = np.full(n, np.nan)
    return np.array([found.get(lag, lost) for lag in lags]).reshape(len(lags), n)


def factors(
    walked: Walked, example: int, t: int = -1, s: int | None = None
) -> Float[np.ndarray, "lag N N"]:
    """The factors J_{t+1}, …, J_s of P_{t→s} for one example, float of the state.

    Args:
        walked: the walk; steps count in its order.
        example: which one.
        t: the state that is disturbed, that after step t; −1 is the initial state.
        s: the state that is looked at; None: that after the example's last valid step.

    Raises:
        ValueError: t and s are out of range or in the wrong order.
    """
    length = jax.tree.leaves(walked.states)[0].shape[0]
    if s is None:
        valid = walked.drive.valid
        real = np.ones(length, bool) if valid is None else np.asarray(valid)[:, example]
        s = int(np.flatnonzero(real).max(initial=-1))
    if not -1 <= t <= s < length:
        raise ValueError(f"t = {t}, s = {s}: not −1 ≤ t ≤ s < {length}")
    found = _jacobians(select(walked, [example]), np.arange(t + 1, s + 1))
    return np.asarray(found)[:, 0]


def propagator(
    walked: Walked, example: int, t: int = -1, s: int | None = None
) -> PropagatorSpectrum:
    """Spectrum of P_{t→s} around one example's trajectory; see `factors` for t, s.

    Holds (s − t) N² numbers, and costs as `jacobians` and `log_singular_values` do.
    """
    return propagator_spectrum(factors(walked, example, t, s))


_jacobians = jax.jit(jacobians)


def _summary(logs: np.ndarray) -> PropagatorSpectrum:
    if np.any(np.isnan(logs)):
        nan = float("nan")
        return PropagatorSpectrum(logs, nan, nan, nan, 0)
    alive = logs[np.isfinite(logs)]
    zeros = int(logs.size - alive.size)
    some = alive.size > 0
    return PropagatorSpectrum(
        log_singular_values=logs,
        log10_condition=float("inf") if zeros else (logs[0] - logs[-1]) / np.log(10.0),
        mean_log=float(np.mean(alive)) if some else float("-inf"),
        variance_log=float(np.var(alive)) if some else 0.0,
        zeros=zeros,
    )


class _Graded:
    """A growing product P = Q diag(exp(log_d)) T."""

    def __init__(self, n: int, eps: float):
        self.q, self.log_d, self.t = np.eye(n), np.zeros(n), np.eye(n)
        self.eps = eps

    def push(self, matrix: np.ndarray) -> None:
        """P becomes `matrix` @ P.

        Sizes of columns go first: saturated units may sit in the columns of a factor,
        as in U diag(φ′), and only in rows is their accuracy kept.
        """
        size = np.linalg.norm(matrix, axis=0)
        if np.min(size) < UNEVEN * np.max(size):
            self._push(np.diag(size))
            matrix = matrix / np.where(size > 0, size, 1.0)[None, :]
        self._push(matrix)

    def _push(self, matrix: np.ndarray) -> None:
        m = matrix @ self.q
        self.q, self.log_d, upper, order = _graded_qr(m, self.log_d, self.eps)
        self.t = upper @ self.t[order]

    def log_singular_values(self) -> np.ndarray:
        """ln σ of P, largest first."""
        alive = self.log_d > -np.inf
        logs = np.full(len(alive), -np.inf)
        if np.any(alive):
            logs[: np.sum(alive)] = _graded_svd(self.t[alive].T, self.log_d[alive])
        return logs


def _graded_qr(
    m: np.ndarray, log_d: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """m diag(exp(log_d)) = Q diag(exp(new)) W Πᵀ with W unit upper triangular.

    Columns are sorted by *scaled* size, largest first, so that entries of W are small
    and `new` descends; pivoting as the reflections go on gains no digits over that.
    Rows are sorted by size: a row of saturated units keeps its own relative accuracy,
    and a row of zeros stays zero.

    Returns Q, `new`, W, and the order Π of the columns.
    """
    rows = np.argsort(-np.max(np.abs(m), axis=1), kind="stable")
    a = m[rows]
    row_size, column_size = np.linalg.norm(a, axis=1), np.linalg.norm(a, axis=0)
    order = np.argsort(-_log(column_size) - log_d, kind="stable")
    alive = int(np.sum(log_d > -np.inf))
    while True:
        q, r = np.linalg.qr(a[:, order])
        floor = ROUNDING * eps * np.minimum(row_size, column_size[order])
        lost = np.flatnonzero(np.abs(np.diag(r))[:alive] <= floor[:alive])
        if lost.size == 0:
            break
        # last in line: as it stands, its Q is noise and takes from those after it
        order = np.append(np.delete(order, lost[0]), order[lost[0]])
        alive -= 1
    unsorted = np.empty_like(q)
    unsorted[rows] = q * np.where(np.diag(r) < 0, -1.0, 1.0)[None, :]
    new, upper = _unit_upper(r, log_d[order], alive)
    return unsorted, new, upper, order


def _unit_upper(
    r: np.ndarray, log_d: np.ndarray, alive: int
) -> tuple[np.ndarray, np.ndarray]:
    """ln of the diagonal of r diag(exp(log_d)), and its rows divided by the diagonal.

    Rows from `alive` on are zero, and become those of the identity. A column that is
    lost here still has its say in the rows above.
    """
    upper, new = np.eye(len(r)), np.full(len(r), -np.inf)
    diagonal, own = np.diag(r)[:alive], log_d[:alive]
    new[:alive] = _log(np.abs(diagonal)) + own
    # entries of a well-chosen order are small; the cap keeps those of a poor one finite
    scale = np.exp(np.minimum(log_d[None, :] - own[:, None], 300.0))
    upper[:alive] += np.triu(r[:alive] / diagonal[:, None] * scale, 1)
    return new, upper


def _graded_svd(b: np.ndarray, log_d: np.ndarray) -> np.ndarray:
    """ln of the singular values of b diag(exp(log_d)), b ``(n, r)``, largest first.

    Two QR steps first, the second on the transpose, leave nearly orthogonal columns
    (Drmač & Veselić 2008); the rest is Jacobi's, on disjoint pairs at a time.
    """
    order = np.argsort(-log_d, kind="stable")
    log_d = log_d[order]
    lower = _triangle(b[:, order]).T
    # diag(d) Rᵀ diag(d)⁻¹: nothing overflows below the diagonal, where d_i ≤ d_j
    with np.errstate(under="ignore"):
        columns = lower * np.exp(np.minimum(log_d[:, None] - log_d[None, :], 0.0))
    x, logs = _unit_rows(_triangle(columns).T, log_d)
    n = len(x)
    if n == 1:
        return logs
    tolerance, worst = 4.0 * n * np.finfo(np.float64).eps, 1.0
    for _ in range(MOST_SWEEPS):
        worst = 0.0
        for left, right in _rounds(n):
            ahead = logs[left] >= logs[right]
            i, j = np.where(ahead, left, right), np.where(ahead, right, left)
            cosine = np.einsum("pk,pk->p", x[i], x[j])
            worst = max(worst, float(np.max(np.abs(cosine))))
            ratio = np.exp(logs[j] - logs[i])
            gap = 1.0 - ratio**2
            root = np.sqrt(gap**2 + (2.0 * ratio * cosine) ** 2)
            with np.errstate(divide="ignore", invalid="ignore"):
                # the tangent of Jacobi's angle, divided by the ratio of the scales
                tangent = np.where(cosine == 0.0, 0.0, 2.0 * cosine / (gap + root))
            scale = 1.0 / np.sqrt(1.0 + (ratio * tangent) ** 2)
            longer = x[i] + (ratio**2 * tangent)[:, None] * x[j]
            shorter = x[j] - tangent[:, None] * x[i]
            x[i], logs[i] = _unit_rows(scale[:, None] * longer, logs[i])
            x[j], logs[j] = _unit_rows(scale[:, None] * shorter, logs[j])
        if worst <= tolerance:
            return np.sort(logs)[::-1]
    raise ArithmeticError(f"Jacobi's iteration ends at a cosine of {worst:.1e}")


def _triangle(x: np.ndarray) -> np.ndarray:
    """R of x = Q R."""
    r: Any = np.linalg.qr(x, mode="r")
    return r


def _unit_rows(x: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length 1, and their lengths joined to `logs`."""
    size = np.linalg.norm(x, axis=1)
    return x / np.where(size > 0, size, 1.0)[:, None], logs + _log(size)


def _rounds(n: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """All pairs of n, in rounds of disjoint ones (a round-robin tournament)."""
    players = n + n % 2
    seats = np.arange(players)
    for _ in range(players - 1):
        left, right = seats[: players // 2], seats[: players // 2 - 1 : -1]
        met = (left < n) & (right < n)
        yield left[met], right[met]
        seats = np.concatenate([seats[:1], seats[-1:], seats[1:-1]])


def _log(x: np.ndarray) -> np.ndarray:
    """ln, with −inf at 0 and no warning."""
    with np.errstate(divide="ignore"):
        return np.log(x)
