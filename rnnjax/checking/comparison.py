"""Where the gradient of a kernel differs by more than rounding explains."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from rnnjax.checking.arguments import Layout
from rnnjax.checking.pullbacks import ALL, LAST, MARGIN, Measured


TINY = 1e-30
"""A gradient below it may be lost in single precision."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One array of the kernel beside that of the reference.

    Attributes:
        name: of the argument, or of the output.
        found, expected: the arrays.
        error: norm of the difference over the norm of what is expected.
        bound: the error that rounding explains.
        columns: where the error exceeds the bound, along the last axis; a vector is
            compared entry by entry, a number as a whole.
    """

    name: str
    found: np.ndarray
    expected: np.ndarray
    error: float
    bound: float
    columns: Bool[np.ndarray, "columns"]

    @property
    def wrong(self) -> bool:
        """Whether any column is wrong."""
        return bool(self.columns.any())

    @property
    def factor(self) -> float | None:
        """c, if what was found is c times what was expected; else None.

        The columns that are wrong must agree on it to a hundredth.
        """
        found, expected = self.found.ravel(), self.expected.ravel()
        square = np.vdot(expected, expected).real
        if not square or not np.isfinite(found).all():
            return None
        c = np.vdot(expected, found) / square
        rest = np.linalg.norm(found - c * expected)
        size = max(np.linalg.norm(found), 1e-2 * np.linalg.norm(expected))
        return float(c.real) if rest < 1e-2 * size and abs(c.imag) < 1e-2 else None


@dataclasses.dataclass(frozen=True)
class ByLag:
    """The gradient at the inputs of each lag from 0 on, from the output of one step.

    Attributes:
        name: of the argument.
        error: norm of the difference at each lag over that of what is expected.
        size: norm of what is expected.
        wrong: where the error exceeds what rounding explains.
        zero: where the kernel gives exactly zero and the reference does not.
    """

    name: str
    error: Float[np.ndarray, "lags"]
    size: Float[np.ndarray, "lags"]
    wrong: Bool[np.ndarray, "lags"]
    zero: Bool[np.ndarray, "lags"]


def outputs(seen: Measured) -> list[Difference]:
    """The values, output by output."""
    rows = zip(seen.kernel.outputs, seen.truth.outputs, seen.noise.outputs, strict=True)
    return [difference(f"output {i}", *row, seen.epsilon) for i, row in enumerate(rows)]


def gradients(seen: Measured, at: Layout, projection: int = ALL) -> list[Difference]:
    """The gradients of one projection, argument by argument."""
    rows = zip(
        at.names,
        seen.kernel.gradients,
        seen.truth.gradients,
        seen.noise.gradients,
        strict=True,
    )
    return [
        difference(name, a[projection], b[projection], n[:, projection], seen.epsilon)
        for name, a, b, n in rows
    ]


def difference(
    name: str,
    found: np.ndarray,
    expected: np.ndarray,
    noise: np.ndarray,
    epsilon: float,
) -> Difference:
    """Compare two arrays, column by column."""
    table = lambda x: np.reshape(x, (-1, x.shape[-1] if x.ndim > 1 else x.size))
    size = np.linalg.norm(expected)
    error = np.linalg.norm(table(found) - table(expected), axis=0)
    spread = np.stack([np.linalg.norm(table(one), axis=0) for one in noise])
    allowed = np.maximum(spread.max(0), epsilon * size / np.sqrt(error.size))
    columns = ~(error <= MARGIN * allowed + TINY)
    whole = max(np.linalg.norm(one) for one in noise)
    bound = MARGIN * max(whole, epsilon * size) / size if size else 0.0
    total = np.linalg.norm(error)
    relative = total / size if size else (np.inf if total else 0.0)
    return Difference(name, found, expected, float(relative), float(bound), columns)


def worst(found: Sequence[Difference]) -> str:
    """The largest error beside its bound, in words."""
    one = max(found, key=lambda x: x.error / max(x.bound, 1e-300))
    return f"error {one.error:.1e}, rounding explains {one.bound:.1e}"


def by_lag(seen: Measured, at: Layout, projection: int, step: int) -> list[ByLag]:
    """The gradient of the output of `step` at the inputs of each lag."""
    found = []
    for leaf, (name, time) in enumerate(zip(at.names, at.times, strict=True)):
        if time is None:
            continue
        kernel, truth, noise = (
            pulled.gradients[leaf] for pulled in (seen.kernel, seen.truth, seen.noise)
        )
        back = slice(step, None, -1)  # lag 0 first
        a = np.moveaxis(kernel[projection], time, 0)[back]
        b = np.moveaxis(truth[projection], time, 0)[back]
        n = np.moveaxis(noise[:, projection], time + 1, 1)[:, back]
        size, error = _norms(b, 1), _norms(a - b, 1)
        spread = _norms(n, 2).max(axis=0)
        own = np.maximum(spread, seen.epsilon * size)
        # rounding of the whole array may hide what is small beside the rest of it
        whole = MARGIN * seen.epsilon * size.max(initial=0)
        zero = (_norms(a, 1) == 0) & (size > TINY)
        wrong = zero | ~((error <= MARGIN * own + TINY) | (error <= whole))
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(size > 0, error / size, np.where(error > 0, np.inf, 0))
        found.append(ByLag(name, relative, size, wrong, zero))
    return found


def from_last(seen: Measured, at: Layout) -> list[ByLag]:
    """`by_lag` from the output of the last step."""
    return by_lag(seen, at, LAST, seen.steps - 1)


def first_wrong(lags: Sequence[ByLag]) -> int | None:
    """The first lag at which a gradient is wrong; None: at none."""
    first = [int(np.argmax(x.wrong)) for x in lags if x.wrong.any()]
    return min(first) if first else None


def farthest(lags: Sequence[ByLag]) -> int:
    """The largest lag at which there is a gradient."""
    reached = [np.flatnonzero(one.size) for one in lags]
    return max((int(found[-1]) for found in reached if found.size), default=0)


def later(seen: Measured, at: Layout, projection: int, step: int) -> bool:
    """Whether an input after `step` has a gradient from the output of that step."""
    for leaf, time in enumerate(at.times):
        if time is not None:
            one = np.moveaxis(seen.kernel.gradients[leaf][projection], time, 0)
            if np.any(one[step + 1 :]):
                return True
    return False


def _norms(x: np.ndarray, axes: int) -> np.ndarray:
    """Norms over all axes but the first `axes`."""
    return np.sqrt(np.sum(np.abs(np.reshape(x, (*x.shape[:axes], -1))) ** 2, axis=-1))
