"""Means over repetitions, with confidence intervals."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import scipy
from jaxtyping import Float


COUNT = "runs"

Range = tuple[float, float]


def range_of(name: str) -> Range | None:
    """The smallest and largest value a final number can have; None: no interval.

    A time or a number of updates depends on the machine and on when it is measured, so
    its mean over seeds estimates nothing and gets no interval.

    >>> range_of("test_accuracy"), range_of("test_loss"), range_of("run_seconds")
    ((0.0, 1.0), (0.0, inf), None)
    """
    stem = name.removeprefix("result.").partition(".")[0]
    if stem.endswith(("step", "steps", "seconds", "count", "updates")):
        return None
    if stem.endswith("accuracy") or stem == "reference":
        return 0.0, 1.0
    if stem.endswith(("loss", "error", "baseline")):
        return 0.0, math.inf
    return -math.inf, math.inf


def aggregate(
    frame: pl.DataFrame,
    by: Sequence[str],
    values: Sequence[str],
    confidence: float = 0.95,
) -> pl.DataFrame:
    """Means and intervals of the groups of rows with equal `by`.

    Args:
        frame: one row per run.
        by: columns whose values define the groups.
        values: numeric or boolean columns.
        confidence: confidence level of the intervals.

    Returns:
        One row per group, in the order of the groups' first rows: columns `by`,
        ``runs`` (number of rows in the group), and for each value its mean followed by
        ``.low``, ``.high`` and ``.n``. `n` counts the values that are present and
        finite; only these are used. For numbers the interval is Student's interval of
        the mean, clipped to the range of the value; as the true mean lies in that
        range, clipping loses no coverage. For booleans the mean is the share of true
        values, with Wilson's interval. Interval ends are null for fewer than two
        numbers, and where the range is None.
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
            ends = range_of(name) or (math.nan, math.nan)
            low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
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
        mean: mean of the sample.
        deviation: standard deviation of the sample, with denominator n − 1.
        n: size of the sample.
        confidence: probability that the interval covers the true mean.
    """
    free = np.maximum(n - 1.0, 1.0)
    quantile = scipy.special.stdtrit(free, (1 + confidence) / 2)
    half = quantile * deviation / np.sqrt(free + 1)
    half = np.where(n > 1, half, np.nan)
    return mean - half, mean + half


def wilson(
    share: Float[np.ndarray, "k"], n: np.ndarray, confidence: float
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Wilson's (1927) score interval of a share; also valid for 0 of n and n of n.

    Args:
        share: share of successes.
        n: number of trials; the interval is NaN where it is 0.
        confidence: probability that the interval covers the true share.
    """
    z = scipy.special.ndtri((1 + confidence) / 2)
    size = np.where(n > 0, n, np.nan)
    middle = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    spread = np.sqrt(share * (1 - share) / size + z**2 / (4 * size**2))
    half = z / (1 + z**2 / size) * spread
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
