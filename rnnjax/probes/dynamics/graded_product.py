"""A long product of matrices of which no singular value is lost.

The product is never formed. It is carried as P = Q D T, Q orthogonal, D diagonal and
held as logarithms, largest first, T a well-conditioned matrix: the *graded QR* of
Stewart. The logarithms of D are not those of the singular values, because T is not
orthogonal; those come from a one-sided Jacobi iteration on D T, which keeps the
relative accuracy of every singular value of a graded matrix (Demmel & Veselić), done on
columns with scales of their own. On the host, in float64.

Sources: Stewart (1995), "On graded QR decompositions of products of matrices", ETNA 3;
Demmel & Veselić (1992), "Jacobi's method is more accurate than QR", SIAM J. Matrix
Anal. Appl. 13; Cox & Higham (1998) for the sorting of rows.
"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np


ROUNDING = 4.0
"""What is left of a column is zero below this many roundings of what was there."""

UNEVEN = 1e-2
"""Ratio of column sizes of a factor below which they are split off."""

MOST_SWEEPS = 60


class GradedProduct:
    """A growing product P = Q diag(exp(log_d)) T of n × n matrices, at first 1.

    A direction that one factor leaves with less than `ROUNDING` · `eps` of its row as
    of its column is taken as lost.
    """

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


def double(matrices: Any) -> tuple[np.ndarray, float]:
    """In float64, and one rounding of the dtype given."""
    given = np.asarray(matrices)
    precise = jnp.issubdtype(given.dtype, jnp.floating)
    eps = jnp.finfo(given.dtype if precise else np.float64).eps
    return given.astype(np.float64), float(eps)


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


def _rounds(n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
