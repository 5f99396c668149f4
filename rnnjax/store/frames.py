"""Convert tables to bytes of a file, including CSV that is safe in a spreadsheet."""

import io

import polars as pl
from polars import selectors


_BEGINS = r"^[=+\-@\t\r\n＝＋－＠]"
"""First characters that a spreadsheet may read as a formula, also in full width."""

_NUMBER = r"(?i)^[+-](\d+\.?\d*|\.\d+|inf|nan)(e[+-]?\d+)?$"


def csv_bytes(frame: pl.DataFrame) -> bytes:
    """A table as CSV that people can safely open in a spreadsheet.

    Text cells and column names that begin like a formula (``=1+1``, ``@sum``, a tab)
    are prefixed with an apostrophe, as OWASP advises. Numbers are not changed, not even
    those in text columns.

    >>> csv_bytes(pl.DataFrame({"word": ["=1+1", "-3", "good"], "loss": [-1, 0, 1]}))
    b"word,loss\\n'=1+1,-1\\n-3,0\\ngood,1\\n"
    """
    heads = pl.Series(frame.columns, dtype=pl.String)
    harmless = heads.to_frame("name").select(_harmless(pl.col("name"))).to_series()
    text = selectors.string()
    safe = frame.with_columns(_harmless(text)).rename(
        dict(zip(frame.columns, harmless, strict=True))
    )
    return safe.write_csv().encode()


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """A table as Parquet, which keeps every value exactly."""
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def _harmless(text: pl.Expr) -> pl.Expr:
    risky = text.str.contains(_BEGINS) & ~text.str.contains(_NUMBER)
    return pl.when(risky).then(pl.lit("'") + text).otherwise(text).name.keep()
