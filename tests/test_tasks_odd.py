"""Odd inputs: each is read right or refused with one sentence that names its place."""

import itertools
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest

from rnnjax.errors import UserError
from rnnjax.store.atomic import write_bytes
from rnnjax.store.frames import csv_bytes, parquet_bytes
from rnnjax.store.rundir import MANIFEST, METRICS, RunDir
from rnnjax.tasks import Arrays, Mnist, Reviews, Text
from rnnjax.tasks.base import TaskSpec
from rnnjax.tasks.inputs import checked_inputs
from rnnjax.tasks.readers.numbers import LARGEST
from rnnjax.user_code import execute_file
from tests.store_samples import manifest_of
from tests.test_tasks_files import USER_TASK, idx


N, T = 30, 3
TOKENS, CLASSES = np.ones((N, T), np.int64), np.arange(N) % 2
VECTORS = np.arange(N * T * 2.0).reshape(N, T, 2)


def put(array: np.ndarray, place: Any, value: Any) -> np.ndarray:
    """A copy with one entry changed."""
    copy = np.array(array, np.result_type(array, np.asarray(value)))
    copy[place] = value
    return copy


def load(folder: Path, **arrays: np.ndarray) -> dict[str, Any]:
    """These arrays as the task reads them from a file."""
    np.savez(folder / "a.npz", **arrays)  # pyright: ignore[reportArgumentType]
    return dict(Arrays(path=str(folder / "a.npz")).load())


REFUSED: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "token 2^32 + 5": (
        {"inputs": put(TOKENS, (4, 1), 2**32 + 5)},
        r"inputs contains the id 4294967301 \(example 4, step 1, .*from 0 without gaps",
    ),
    "token 2^31 + 1": ({"inputs": put(TOKENS, (0, 2), 2**31 + 1)}, "id 2147483649"),
    "token of 64 bits": (
        {"inputs": put(TOKENS.astype(np.uint64), (0, 2), np.uint64(2**64 - 1))},
        "id 18446744073709551615",
    ),
    "token far beyond the data": (
        {"inputs": put(TOKENS, (4, 1), 30_000_000)},
        "table of 30000001 rows for 90 entries",
    ),
    "class 2^31 - 1": (
        {"targets": put(CLASSES, 7, 2**31 - 1)},
        r"targets contains the id 2147483647 \(example 7",
    ),
    "class 2^32 + 1": ({"targets": put(CLASSES, 7, 2**32 + 1)}, "id 4294967297"),
    "negative token": (
        {"inputs": put(TOKENS, (2, 0), -1)},
        r"inputs .* must not be negative \(example 2, step 0, .*: -1\)",
    ),
    "negative class": ({"targets": CLASSES * 2 - 1}, "targets .* must not be negative"),
    "1e39": (
        {"inputs": put(VECTORS, (3, 1, 0), 1e39)},
        r"inputs contains 1e\+39 \(example 3, step 1, entry 0, .*infinite in 32 bits",
    ),
    "-1e300": ({"inputs": put(VECTORS, (3, 1, 0), -1e300)}, r"contains -1e\+300"),
    "value 1e39": (
        {"targets": np.full(N, 1e39)},
        r"targets contains 1e\+39 \(example 0, counted",
    ),
    "infinite value": ({"targets": put(CLASSES, 5, -np.inf)}, "example 5.*: -inf"),
    "value NaN": (
        {"targets": put(np.ones((N, 2)), (5, 1), np.nan)},
        r"targets contains NaN or infinity \(example 5, entry 1, .*: nan\)",
    ),
    "NaN before the end": (
        {
            "inputs": put(VECTORS, (6, 1, 1), np.nan),
            "lengths": np.full(N, 2),
        },
        r"inputs contains NaN or infinity \(example 6, step 1, entry 1,",
    ),
    "values equal in 32 bits": (
        {"targets": 1e9 + np.arange(N)},
        "targets contains numbers from 1000000000 to 1000000029, which are all 1e.09",
    ),
    "values that vanish": ({"targets": CLASSES * 1e-60}, "all 0 in 32 bits"),
    "logical": ({"inputs": TOKENS > 0}, "inputs has dtype bool, not numbers"),
    "complex": ({"inputs": VECTORS * 1j}, "inputs has dtype complex128"),
    "text": ({"targets": CLASSES.astype(str)}, "targets has dtype <U21"),
    "durations": (
        {"targets": CLASSES.astype("timedelta64[s]")},
        "targets has dtype timedelta64",
    ),
    "objects": ({"targets": CLASSES.astype(object)}, "not a readable .npz"),
    "a single number": ({"inputs": np.array(1.0)}, "inputs and inputs differ"),
    "no examples": (
        {"inputs": TOKENS[:0], "targets": CLASSES[:0]},
        "0 examples; a split needs at least 3",
    ),
    "no steps": ({"inputs": TOKENS[:, :0]}, r"inputs have shape \(30, 0\)"),
    "vectors of nothing": (
        {"inputs": VECTORS[:, :, :0]},
        r"inputs have shape \(30, 3, 0\)",
    ),
    "values of nothing": (
        {"targets": np.ones((N, 0))},
        r"targets have shape \(30, 0\)",
    ),
    "lengths of steps": (
        {"lengths": np.ones((N, T), int)},
        r"lengths must be .* one per example, not int64 of shape \(30, 3\)",
    ),
    "a length beyond the end": (
        {"lengths": put(np.full(N, 2), 9, 4)},
        r"lengths must be .* from 1 to 3.*\(example 9, .*: 4\)",
    ),
    "logical lengths": ({"lengths": CLASSES > -1}, "lengths has dtype bool"),
    "lengths with NaN": (
        {"lengths": put(np.ones(N), 3, np.nan)},
        "lengths must be whole numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_odd_numbers_are_refused(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, **({"inputs": TOKENS, "targets": CLASSES} | changes))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.npz"))


READ: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "bytes": (TOKENS.astype(np.uint8), TOKENS),
    "an id at the bound": (put(TOKENS, (1, 1), LARGEST), put(TOKENS, (1, 1), LARGEST)),
    "half precision": (
        VECTORS.astype(np.float16),
        VECTORS.astype(np.float16).astype(np.float32),
    ),
    "the largest of 32 bits": (VECTORS * 1e36, (VECTORS * 1e36).astype(np.float32)),
    "whole numbers as floats": (TOKENS * 2.0, (TOKENS * 2.0)[:, :, None]),
}


@pytest.mark.parametrize("case", READ)
def test_odd_numbers_that_are_right(case: str, tmp_path: Path) -> None:
    given, expected = READ[case]
    found = load(tmp_path, inputs=given, targets=CLASSES)["inputs"]
    assert found.dtype == (np.int32 if expected.dtype.kind == "i" else np.float32)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("behind", [np.nan, np.inf, -1e300, 7.0, -1, 10**12])
def test_nothing_behind_the_end_counts(behind: Any, tmp_path: Path) -> None:
    lengths = np.arange(N) % T + 1
    padding = np.arange(T) >= lengths[:, None]
    sequences = TOKENS if isinstance(behind, int) else VECTORS
    filled, zeros = sequences.copy(), sequences.copy()
    filled[padding], zeros[padding] = behind, 0
    odd = load(tmp_path, inputs=filled, targets=CLASSES, lengths=lengths)
    plain = load(tmp_path, inputs=zeros, targets=CLASSES, lengths=lengths)
    assert odd.keys() == plain.keys()
    assert all(np.array_equal(odd[key], plain[key]) for key in odd)


CELLS = {
    "99999999999999999999": "line 32: column target contains 99999999999999999999, a",
    "9223372036854775808": "line 32: column target contains 9223372036854775808, a",
    "4294967297": r"targets contains the id 4294967297 \(example 30",
    "1e39": r"targets contains 1e\+39 \(example 30",
    "inf": "targets contains NaN or infinity",
    "-1": "must not be negative",
    "true": "column target contains text",
    "1_000": "column target contains text",
    "": "line 32: column target has no value",
}


@pytest.mark.parametrize("cell", CELLS)
def test_odd_cells_of_a_table_are_refused(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{rows(1)}2,{cell}\n")
    with pytest.raises(UserError, match=CELLS[cell]) as caught:
        Arrays(path=str(path)).load()
    assert "\n" not in str(caught.value)


# -- inputs for a trained model ----------------------------------------------------


def spec_of(vocabulary: int | None) -> TaskSpec:
    """A specification with tokens or with vectors of 2 numbers."""
    return TaskSpec(
        4, vocabulary, 2, 2, "cross_entropy", "last", "accuracy", 0.5, 0.7, 0.9
    )


ONES = np.ones((4, 3), int)
NUMBERS = np.ones((4, 3, 2))

ASKED: dict[str, tuple[int | None, Any, Any, str]] = {
    "token 999": (
        72,
        put(ONES, (1, 2), 999),
        None,
        r"token 999 \(step 1, example 2, counted from 0\); permitted: 0 to 71",
    ),
    "token -1": (72, put(ONES, (1, 2), -1), None, "token -1"),
    "token 2^32 + 5": (72, put(ONES, (1, 2), 2**32 + 5), None, "token 4294967301"),
    "tokens as floats": (72, ONES * 1.0, None, "dtype float64, not whole numbers"),
    "logical tokens": (72, ONES > 0, None, "dtype bool, not numbers"),
    "one sentence": (72, ONES[:, 0], None, r"shape \(4,\); permitted: tokens \(T, B\)"),
    "no steps": (72, ONES[:0], None, r"shape \(0, 3\)"),
    "no examples": (72, ONES[:, :0], None, r"shape \(4, 0\)"),
    "ragged": (72, [[1, 2], [3]], None, "not an array"),
    "vectors of another size": (
        None,
        NUMBERS[:, :, :1],
        None,
        r"shape \(4, 3, 1\); permitted: vectors \(T, B, 2\)",
    ),
    "tokens for vectors": (None, ONES, None, r"permitted: vectors \(T, B, 2\)"),
    "NaN": (None, put(NUMBERS, (1, 2, 0), np.nan), None, r"NaN .*step 1, example 2"),
    "1e39": (None, NUMBERS * 1e39, None, "infinite in 32 bits"),
    "masked": (None, np.ma.masked_equal(NUMBERS, 1), None, "masked array"),
    "length 5 of 4": (72, ONES, [4, 5, 1], r"from 1 to 4.*\(example 1, .*: 5\)"),
    "length 0": (72, ONES, [4, 0, 1], r"from 1 to 4.*\(example 1, .*: 0\)"),
    "lengths of two": (72, ONES, [4, 4], r"not int64 of shape \(2,\)"),
    "lengths as floats": (72, ONES, [4.0, 4.0, 4.0], "not float64"),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_odd_questions_to_a_model_are_refused(case: str) -> None:
    vocabulary, inputs, lengths, message = ASKED[case]
    with pytest.raises(UserError, match=message) as caught:
        checked_inputs(spec_of(vocabulary), inputs, lengths)
    assert "\n" not in str(caught.value)


def test_questions_that_are_right_are_unchanged() -> None:
    tokens, lengths = checked_inputs(spec_of(72), ONES.tolist(), [4, 1, 2])
    assert lengths is not None and lengths.tolist() == [4, 1, 2]
    assert tokens.dtype == np.int32 and tokens.tolist() == ONES.tolist()
    strange, _ = checked_inputs(spec_of(72), put(ONES, (3, 1), 999), [4, 3, 4])
    assert strange.tolist() == put(ONES, (3, 1), 0).tolist()
    odd = put(NUMBERS, (3, 0, 1), np.nan)
    found, _ = checked_inputs(spec_of(None), odd, np.array([3, 4, 4], np.uint8))
    assert found.dtype == np.float32 and float(found.sum()) == 24 - 1
    shapes = jax.eval_shape(lambda x: checked_inputs(spec_of(None), x, None)[0], found)
    assert shapes.shape == found.shape


# -- names of files ----------------------------------------------------------------


NAMES = (
    "data [1]", "data*", "da?a", "{a,b}", "~", "~none", "p%20q", "h#1", "sp ace",
    "ümläut", "file:", "file:x", "s3:", "a|b", "$HOME", "line\nbreak",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and a home of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def rows(last: int) -> str:
    """A small table whose largest target is `last`."""
    return "x0,target\n" + "".join(f"{i % 3},{last * (i % 2)}\n" for i in range(N))


@pytest.mark.parametrize("name", NAMES)
def test_the_named_file_is_read(name: str, here: Path) -> None:
    for decoy in ("data 1", "data", "a", "b", "x", "home"):
        Path(f"{decoy}.csv").write_text(rows(5))
    Path(f"{name}.csv").write_text(rows(1))
    assert Arrays(path=f"{name}.csv").load()["targets"].max() == 1
    np.savez(f"./{name}.npz", inputs=TOKENS, targets=CLASSES)
    assert Arrays(path=f"{name}.npz").load()["targets"].max() == 1
    Path(f"{name}.txt").write_text("good one\t1\nbad one\t0\n" * 20)
    assert Reviews(path=f"{name}.txt").vocabulary()[-3:] == ("one", "bad", "good")
    assert Text(path=f"{name}.txt", length=2).load()["train"].size
    Path(f"{name}.py").write_text(USER_TASK)
    assert execute_file(Path(f"{name}.py")).MyTask.name == "mine"
    folder = Path(name) / "inside"
    folder.mkdir(parents=True)
    images, labels = np.zeros((30, 2, 2), np.uint8), np.zeros(30, np.uint8)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(images))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    if name != "~":  # alone it is the home folder
        assert len(Mnist(path=f"{name}/inside").load()["labels"]) == 30


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_written_where_they_should_be(name: str, here: Path) -> None:
    folder = Path(name)
    folder.mkdir()
    for decoy in ("data 1", "data"):
        Path(decoy).mkdir()
        pl.DataFrame({"step": [9]}).write_parquet(Path(decoy) / METRICS)
    frame = pl.DataFrame({"step": [1, 2]})
    (folder / MANIFEST).write_text(manifest_of("ab").to_json())
    write_bytes(folder / METRICS, parquet_bytes(frame))
    write_bytes(folder / "runs.csv", csv_bytes(frame))
    assert RunDir(folder).metrics().equals(frame)
    assert (folder / "runs.csv").read_text() == "step\n1\n2\n"
    written = {path.name for path in here.parent.rglob("*") if path.is_file()}
    assert written == {MANIFEST, METRICS, "runs.csv"}


@pytest.mark.parametrize(
    ("kind", "path"),
    [*itertools.product((Arrays, Text, Reviews), ("gone\0.csv", "file:///gone.csv"))],
)
def test_paths_that_name_nothing(kind: type[Any], path: str, here: Path) -> None:
    with pytest.raises(UserError, match=f"cannot read {re.escape(path[:4])}"):
        kind(path=path).load()
