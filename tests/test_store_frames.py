"""Tables for people: no cell of text is a formula, numbers are numbers."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnjax.cli.main import main
from rnnjax.store.frames import csv_bytes, parquet_bytes
from rnnjax.store.pool import Pool
from tests.store_samples import store_run


def written(cells: list[str | None], name: str = "word") -> list[str]:
    """The cells of one column, name first, as a reader of CSV finds them."""
    content = csv_bytes(pl.DataFrame({name: cells, "row": range(len(cells))}))
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1", '=HYPERLINK("http://x","y")', "@SUM(A1)", "+1+1", "-1+cmd|' /C x'!A0",
        "--1", "-", "+", "\t=1+1", "\r=1+1", "\n=1+1", "＝1+1", "＠x", "-1 1", "-e5",
    ],
)  # fmt: skip
def test_a_formula_becomes_text(cell: str) -> None:
    assert written(["good", cell]) == ["word", "good", f"'{cell}"]
    assert written(["good"], name=cell)[0] == f"'{cell}"


@pytest.mark.parametrize(
    "cell",
    ["", "good", "-1", "+1", "-0.5", "-.5", "-1.", "1e-3", "-1E+20", "-inf", "-NaN",
     "a=b", "'quoted'", "−3", "seed=0"],
)  # fmt: skip
def test_everything_else_stays_as_it_is(cell: str) -> None:
    assert written([cell, "good"]) == ["word", cell, "good"]


@given(st.lists(st.text() | st.none(), min_size=1))
def test_nothing_but_an_apostrophe_is_added(cells: list[str | None]) -> None:
    for cell, found in zip(cells, written(cells)[1:], strict=True):
        assert found.removeprefix("'" if found != cell else "") == (cell or "")
        assert not found.startswith(("=", "@", "\t", "\r"))


def test_numbers_stay_numbers() -> None:
    frame = pl.DataFrame({"a": [-1, 2], "b": [-0.5, None], "c": [True, None]})
    assert csv_bytes(frame) == b"a,b,c\n-1,-0.5,true\n2,,\n"


def test_parquet_is_exact() -> None:
    frame = pl.DataFrame({"word": ["=1+1", None], "loss": [float("nan"), -1.0]})
    assert pl.read_parquet(parquet_bytes(frame)).equals(frame)


def test_the_table_of_a_pool(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "runs")
    store_run(pool, config={"variant": "=1+1", "lr": -1.0})
    store_run(pool, config={"variant": "lstm", "lr": "@x"})
    for kind in ("csv", "parquet"):
        assert main(["runs", str(pool.path), f"--{kind}", str(tmp_path / kind)]) == 0
    table = pl.read_csv(tmp_path / "csv")
    assert set(table["variant"]) == {"'=1+1", "lstm"}
    assert set(table["lr"]) == {"-1.0", "'@x"}
    assert set(pl.read_parquet(tmp_path / "parquet")["variant"]) == {"=1+1", "lstm"}
