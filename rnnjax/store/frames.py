"""Tables as the bytes of a file, made in memory; CSV that a spreadsheet cannot run."""

import io

import polars as pl
from polars import selectors


_BEGINS = r"^[=+\-@\t\r\n＝＋－＠]"
"""What a spreadsheet may take for the beginning of a formula, in both widths."""

_NUMBER = r"(?i)^[+-](\d+\.?\d*|\.\d+|inf|nan)(e[+-]?\d+)?$"


def csv_bytes(frame: pl.DataFrame) -> bytes:
    """A table as CSV for people, who open it in a spreadsheet.

    A cell of text that begins like a formula (``=1+1``, ``@sum``, a tab) gets an
    apostrophe in front, as OWASP advises; so does the name of a column. Numbers stay
    numbers, those in columns of text as well.

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
    """A table as Parquet, exact to the letter."""
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def _harmless(text: pl.Expr) -> pl.Expr:
    risky = text.str.contains(_BEGINS) & ~text.str.contains(_NUMBER)
    return pl.when(risky).then(pl.lit("'") + text).otherwise(text).name.keep()
