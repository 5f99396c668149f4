"""Minimum, median and maximum of a column, as plain floats."""

from functools import partial

import polars as pl


def _known(column: pl.Series, how: str) -> float:
    """One number of the values that are known; NaN if there is none.

    >>> median(pl.Series([1.0, None, 4.0]))
    2.5
    """
    known = column.cast(pl.Float64).drop_nulls().drop_nans()
    return float(getattr(known, how)()) if len(known) else float("nan")


minimum = partial(_known, how="min")
maximum = partial(_known, how="max")
median = partial(_known, how="median")


def median_of(column: str) -> pl.Expr:
    """The median of a column for an aggregation, also where values are infinite.

    >>> frame = pl.DataFrame({"x": [-float("inf"), -3.0]})
    >>> frame.select(median_of("x")).item()
    -inf
    """
    known = pl.col(column).fill_nan(None)
    low, high = (known.quantile(0.5, side) for side in ("lower", "higher"))
    return ((low + high) / 2).alias(column)
