"""Names and forms of files: what is read is the file that was named."""

import os
import re
from pathlib import Path

import jax
import numpy as np

from rnnjax.tasks.mnist import Mnist
from scripts.odd_inputs.case import add, case, expect
from scripts.odd_inputs.samples import classes, csv, load, npz, runs, tokens, train


def _named(name: str, other: str) -> None:
    """A table beside another one that a pattern would take for it."""
    csv(other, tokens(9), classes() + 3)
    given = tokens(1)
    data = load(csv(name, given, classes()))
    expect(data["targets"].max() == 1, f"read '{other}'")
    expect((data["inputs"] == given).all(), "other numbers than in the file")


for _name, _other in (
    ("part[0-9].csv", "part7.csv"),
    ("all*.csv", "all of it.csv"),
    ("who?.csv", "whoa.csv"),
    ("{a,b}.csv", "a.csv"),
    ("тест, v2 (копия).csv", "тест.csv"),
    ("été 'n' \"x\".csv", "été.csv"),
    ("100%.csv", "100.csv"),
    ("~tilde.csv", "tilde.csv"),
):
    add(f"a file named {_name}", lambda a=_name, b=_other: _named(a, b), "never")


@case("never")
def one_file_under_four_spellings() -> None:
    path = npz("données [1], neu.npz")
    os.symlink(path, "link.npz")
    for spelling in (path, f"./{path}", str(Path(path).absolute()), "link.npz"):
        train(path=spelling)
    expect(len(runs()) == 1, f"{len(runs())} runs of one data set")


@case("never")
def two_files_of_one_content_and_another() -> None:
    """A copy gives the same numbers; other data are another run."""
    first = train(path=npz("a.npz"))
    same = train(path=npz("b.npz"))
    other = train(path=npz("c.npz", seed=5))
    pairs = zip(*(jax.tree.leaves(run.params) for run in (first, same)), strict=True)
    expect(all(np.array_equal(a, b) for a, b in pairs), "a copy gives other numbers")
    expect(first.path != other.path, "other data became the same run")


@case("never")
def a_csv_from_excel() -> None:
    """With a byte order mark and CRLF."""
    data = load(csv("a.csv", tokens(2), classes(), head="\ufeff", end="\r\n"))
    expect((data["inputs"] == tokens(2)).all(), "other numbers than in the file")


@case("must")
def a_csv_with_semicolons() -> None:
    path = csv("a.csv", tokens(), classes())
    Path(path).write_text(Path(path).read_text().replace(",", ";"))
    load(path)


@case("must")
def a_csv_with_decimal_commas() -> None:
    rows = tokens().astype(object)
    rows[0, 0] = '"3,5"'
    load(csv("a.csv", rows, classes()))


@case()
def a_csv_whose_columns_are_in_another_order() -> None:
    rows = tokens(3)
    lines = ["target,x1,x0,x3,x2"]
    lines += [
        f"{c},{r[1]},{r[0]},{r[3]},{r[2]}" for r, c in zip(rows, classes(), strict=True)
    ]
    Path("a.csv").write_text("\n".join(lines))
    data = load("a.csv")
    expect((data["inputs"] == rows).all(), "steps in another order")
    expect((data["targets"] == classes()).all(), "targets differ")


@case("must")
def an_archive_that_is_cut_off() -> None:
    path = Path(npz("a.npz"))
    path.write_bytes(path.read_bytes()[:-200])
    load(str(path))


@case("must")
def an_archive_of_objects() -> None:
    load(npz("a.npz", inputs=np.array([[1], [1, 2]] * 30, dtype=object)))


@case("must")
def a_folder_named_like_a_table() -> None:
    Path("a.csv").mkdir()
    load("a.csv")


@case("never")
def permuted_pixels_in_the_published_order() -> None:
    """`np.random.RandomState(92916)`, as scoRNN and later papers; or said to differ."""
    rows, columns = np.divmod(np.arange(784), 28)
    images = np.stack([rows, columns] * 30).reshape(60, 28, 28).astype(np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", classes())):
        head = bytes([0, 0, 8, array.ndim])
        head += b"".join(size.to_bytes(4, "big") for size in array.shape)
        body = array.astype(np.uint8).tobytes()
        Path(f"t10k-{name}-ubyte").write_bytes(head + body)
    got = load(".", "mnist", permuted=True)["images"]
    order = np.random.RandomState(92916).permutation(784)
    want = np.stack([rows[order], columns[order]])
    is_said = re.search(r"\bown\b.*\border\b|\border\b.*\bown\b", Mnist.__doc__ or "")
    same = (np.asarray(got)[:2] == want).all()
    expect(same or is_said, "another order, and no word that it is an own one")
