"""Minimum, median and maximum of a column, as plain floats."""

import polars as pl


def minimum(column: pl.Series) -> float:
    """The smallest value; NaN if there is none."""
    return _plain(column, "min")


def maximum(column: pl.Series) -> float:
    """The largest value; NaN if there is none."""
    return _plain(column, "max")


def median(column: pl.Series) -> float:
    """The median; NaN if there is none.

    >>> median(pl.Series([1.0, None, 4.0]))
    2.5
    """
    return _plain(column, "median")


def median_of(column: str) -> pl.Expr:
    """The median of a column for an aggregation, also where values are infinite.

    >>> frame = pl.DataFrame({"x": [-float("inf"), -3.0]})
    >>> frame.select(median_of("x")).item()
    -inf
    """
    known = pl.col(column).fill_nan(None)
    low, high = (known.quantile(0.5, side) for side in ("lower", "higher"))
    return ((low + high) / 2).alias(column)


def _plain(column: pl.Series, how: str) -> float:
    known = column.cast(pl.Float64).drop_nulls().drop_nans()
    return float(getattr(known, how)()) if len(known) else float("nan")
