"""Means over repetitions with confidence intervals."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.special import ndtri, stdtrit


COUNT = "runs"


def aggregate(
    frame: pl.DataFrame,
    by: Sequence[str],
    values: Sequence[str],
    confidence: float = 0.95,
) -> pl.DataFrame:
    """Groups of equal `by`, in the order of their first row.

    Args:
        frame: one row per run.
        by: columns that make a group.
        values: numeric or logical columns.
        confidence: of the intervals.

    Returns:
        Columns `by`, ``runs`` (rows of the group), and for each value its mean, and
        beside it ``.low``, ``.high`` and ``.n``. `n` counts the values that are there
        and finite; only these enter. Numbers: Student's interval of the mean. Logical
        values: the share of true ones and Wilson's interval. Null below two numbers.
    """
    known = [
        pl.when(pl.col(name).cast(pl.Float64).is_finite())
        .then(pl.col(name).cast(pl.Float64))
        .alias(name)
        for name in values
    ]
    groups = (
        frame.select(*by, *known)
        .group_by(list(by) or [pl.lit(0).alias("")], maintain_order=True)
        .agg(
            pl.len().alias(COUNT),
            *(pl.col(name).mean() for name in values),
            *(pl.col(name).std().alias(f"{name}.std") for name in values),
            *(pl.col(name).count().alias(f"{name}.n") for name in values),
        )
    )
    columns = [groups[name] for name in (*by, COUNT)]
    for name in values:
        middle, n = groups[name].to_numpy(), groups[f"{name}.n"].to_numpy()
        if frame[name].dtype == pl.Boolean:
            low, high = wilson(middle, n, confidence)
        else:
            low, high = student(middle, groups[f"{name}.std"].to_numpy(), n, confidence)
        bounds = {f"{name}.low": low, f"{name}.high": high}
        columns += [
            groups[name],
            *(pl.Series(k, v).fill_nan(None) for k, v in bounds.items()),
            groups[f"{name}.n"],
        ]
    return pl.DataFrame(columns)


def student(
    mean: Float[np.ndarray, "k"],
    deviation: Float[np.ndarray, "k"],
    n: np.ndarray,
    confidence: float,
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Student's t interval of a mean; NaN for fewer than two values.

    Args:
        mean: of the sample.
        deviation: its standard deviation, with n − 1.
        n: its size.
        confidence: probability that the interval covers the true mean.
    """
    free = np.maximum(n - 1.0, 1.0)
    half = stdtrit(free, (1 + confidence) / 2) * deviation / np.sqrt(free + 1)
    half = np.where(n > 1, half, np.nan)
    return mean - half, mean + half


def wilson(
    share: Float[np.ndarray, "k"], n: np.ndarray, confidence: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Wilson's (1927) score interval of a share; also right for 0 and n of n.

    Args:
        share: of successes.
        n: number of trials; NaN for none.
        confidence: probability that the interval covers the true share.
    """
    z = ndtri((1 + confidence) / 2)
    size = np.where(n > 0, n, np.nan)
    middle = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    spread = np.sqrt(share * (1 - share) / size + z**2 / (4 * size**2))
    half = z / (1 + z**2 / size) * spread
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
