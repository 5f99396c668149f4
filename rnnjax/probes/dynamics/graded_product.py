"""A long product of matrices in which no singular value is lost to rounding.

The product is never formed. It is represented as P = Q D T with Q orthogonal, D
diagonal and stored as logarithms, largest first, and T well conditioned: the *graded
QR* of Stewart. The entries of D are not the singular values, because T is not
orthogonal. The singular values come from a one-sided Jacobi iteration on D T, which
computes every singular value of a graded matrix with high relative accuracy (Demmel &
Veselić); each column is stored with its own scale. On the host, in float64.

Sources: Stewart (1995), "On graded QR decompositions of products of matrices", ETNA 3;
Demmel & Veselić (1992), "Jacobi's method is more accurate than QR", SIAM J. Matrix
Anal. Appl. 13; Cox & Higham (1998) for the sorting of rows.
"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np


ROUNDING = 4.0
"""The rest of a column is taken as zero below this many roundings of its old size."""

UNEVEN = 1e-2
"""Ratio of smallest to largest column of a factor below which column scales are
split off as a separate diagonal factor."""

MAX_SWEEPS = 60


class GradedProduct:
    """A growing product P = Q diag(exp(log_d)) T of n × n matrices, at first identity.

    A direction of which a factor leaves less than `ROUNDING` · `eps`, relative to the
    smaller of its row and its column, is taken as lost (an exact zero).
    """

    def __init__(self, n: int, eps: float):
        self.q, self.log_d, self.t = np.eye(n), np.zeros(n), np.eye(n)
        self.eps = eps

    def push(self, matrix: np.ndarray) -> None:
        """P becomes `matrix` @ P.

        Very different column scales are multiplied in first, as a diagonal factor:
        saturated units may scale the columns of a factor, as in U diag(φ′), but the QR
        step preserves the accuracy of small rows only.
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
    """The matrices in float64, and the rounding unit of their original dtype."""
    given = np.asarray(matrices)
    precise = jnp.issubdtype(given.dtype, jnp.floating)
    eps = jnp.finfo(given.dtype if precise else np.float64).eps
    return given.astype(np.float64), float(eps)


def _graded_qr(
    m: np.ndarray, log_d: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """m diag(exp(log_d)) = Q diag(exp(new)) W Πᵀ with W unit upper triangular.

    Columns are sorted by *scaled* size, largest first, so that entries of W are small
    and `new` descends; pivoting after each reflection gives no extra accuracy. Rows are
    sorted by size: a row of a saturated unit then keeps its own relative accuracy, and
    a row of zeros stays zero.

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
        # move it to the end: its column of Q is noise, which would contaminate the
        # columns that come after it
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

    Rows from `alive` on are zero and are replaced by those of the identity. A column
    that is lost here still contributes to the rows above.
    """
    upper, new = np.eye(len(r)), np.full(len(r), -np.inf)
    diagonal, own = np.diag(r)[:alive], log_d[:alive]
    new[:alive] = _log(np.abs(diagonal)) + own
    # in a good column order the entries are small; the cap keeps them finite otherwise
    scale = np.exp(np.minimum(log_d[None, :] - own[:, None], 300.0))
    upper[:alive] += np.triu(r[:alive] / diagonal[:, None] * scale, 1)
    return new, upper


def _graded_svd(b: np.ndarray, log_d: np.ndarray) -> np.ndarray:
    """ln of the singular values of b diag(exp(log_d)), b ``(n, r)``, largest first.

    Two preliminary QR steps, the second on the transpose, make the columns nearly
    orthogonal (Drmač & Veselić 2008). The Jacobi iteration then rotates disjoint pairs
    of columns simultaneously.
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
    for _ in range(MAX_SWEEPS):
        worst = 0.0
        for left, right in _rounds(n):
            ahead = logs[left] >= logs[right]
            i, j = np.where(ahead, left, right), np.where(ahead, right, left)
            cosine = np.einsum("pk,pk->p", x[i], x[j])
            worst = max(worst, float(np.max(np.abs(cosine))))
            ratio = np.exp(logs[j] - logs[i])
            gap = 1.0 - ratio**2
            root = np.hypot(gap, 2.0 * ratio * cosine)  # squares would underflow
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
    raise ArithmeticError(
        f"Jacobi iteration did not converge: largest cosine left is {worst:.1e}"
    )


def _triangle(x: np.ndarray) -> np.ndarray:
    """R of x = Q R."""
    r: Any = np.linalg.qr(x, mode="r")
    return r


def _unit_rows(x: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows normalised to length 1, and `logs` plus the logarithms of their lengths."""
    size = np.linalg.norm(x, axis=1)
    return x / np.where(size > 0, size, 1.0)[:, None], logs + _log(size)


def _rounds(n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs out of n, in rounds of disjoint pairs (a round-robin tournament)."""
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
