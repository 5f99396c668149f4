"""Text, pixels, arrays and tasks from files of the user's own."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from rnnjax.errors import UserError
from rnnjax.tasks import Arrays, Digits, Mnist, Text
from rnnjax.tasks.pixels import pixel_rows
from rnnjax.tasks.readers.idx import read_idx
from rnnjax.user_code import execute_file


def idx(array: np.ndarray) -> bytes:
    """The bytes of an idx file."""
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def message_of(task: Arrays | Mnist | Text) -> str:
    """The one-line message with which `load` fails."""
    with pytest.raises(UserError) as caught:
        task.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_text_windows_predict_the_next_character(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("abcab\x85\r\n".encode() * 50)
    task = Text(path=str(path), length=5)
    batch = task.heldout("train", 100, task.load())
    inputs, targets = np.asarray(batch.inputs), np.asarray(batch.targets)
    assert inputs.shape == (5, (360 - 1) // 5)
    assert np.array_equal(inputs[1:], targets[:-1])
    assert np.array_equal(inputs[0, 1:], targets[-1, :-1])
    assert "".join(task.words(inputs.T.reshape(-1))[:8]) == "abcab\x85\r\n"
    spec = task.spec(task.load())
    assert spec.vocabulary == 2 + 6  # padding, unknown, a b c NEL CR LF
    assert spec.baseline == 2 / 8
    assert spec.solved == pytest.approx(7 / 8, abs=0.1) and spec.solved < 1


def test_text_words_have_marks_and_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Oh, don't go; oh, go! " * 40)
    task = Text(path=str(path), unit="word", length=3, max_vocabulary=6)
    assert task.words(np.arange(6)) == ["·", "<unknown>", ",", "go", "oh", "!"]
    batch = task.heldout("train", 1, task.load())
    assert task.words(batch.inputs[:, 0]) == ["oh", ",", "<unknown>"]


def test_text_words_are_of_any_script(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("L’été, cafe\u0301; Фильм! " * 40)
    task = Text(path=str(path), unit="word", length=6)
    batch = task.heldout("train", 1, task.load())
    found = task.words(batch.inputs[:, 0])
    assert found == ["l'été", ",", "café", ";", "фильм", "!"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"short\n", "is too short: its shortest part has 0 chars, but task.length"),
        (b"x\n\xff" * 99, "line 2: byte 0xff is not UTF-8"),
    ],
)
def test_bad_text_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert message in message_of(Text(path=str(path)))


def test_missing_data_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path))
    assert "folder $RNNJAX_DATA/text" in message_of(Text())
    assert "folder $RNNJAX_DATA/mnist" in message_of(Mnist())
    assert "needs task.path" in message_of(Arrays())
    assert "cannot read" in message_of(Mnist(path=str(tmp_path)))


def test_digits_are_the_images_in_order() -> None:
    data, permuted = Digits().load(), Digits(permuted=True).load()
    assert data["images"].shape == (1797, 64) and data["images"].max() == 16
    batch = Digits().heldout("test", 5, data)
    assert batch.inputs.max() == 1.0 and batch.inputs.min() == 0.0
    first = data["images"][data["test"][0]]
    assert np.allclose(batch.inputs[:, 0, 0] * 16, first)
    assert not np.array_equal(permuted["images"], data["images"])
    assert np.array_equal(
        np.sort(permuted["images"], axis=1), np.sort(data["images"], axis=1)
    )
    order = [np.flatnonzero((permuted["images"] == column[:, None]).all(axis=0))
             for column in data["images"].T]  # fmt: skip
    assert all(len(places) for places in order)


def test_permuted_mnist_has_the_order_that_publications_share() -> None:
    # the first entries of np.random.RandomState(92916).permutation(784), which is
    # the order in the code of scoRNN and of expRNN
    images = np.arange(784).reshape(1, 28, 28)
    found = pixel_rows(images, True)[0]
    assert np.array_equal(found, np.random.RandomState(92916).permutation(784))
    assert np.array_equal(pixel_rows(images, False)[0], np.arange(784))


def test_mnist_with_and_without_training_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = {}
    for part, count in (("t10k", 30), ("train", 48)):
        written[part] = images = rng.integers(0, 256, (count, 4, 3), np.uint8)
        name = f"{part}-images-idx3-ubyte.gz"
        (tmp_path / name).write_bytes(gzip.compress(idx(images)))
        labels = rng.integers(0, 10, count, np.uint8)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
        data = Mnist(path=str(tmp_path)).load()
        sizes = [len(data[split]) for split in ("train", "validation", "test")]
        assert sizes == ([24, 3, 3] if part == "t10k" else [44, 4, 30])
        rows = np.concatenate(
            [data[split] for split in ("train", "validation", "test")]
        )
        assert np.array_equal(np.sort(rows), np.arange(sum(sizes)))
        if part == "t10k":
            assert np.array_equal(data["images"], images.reshape(30, 12))
    data = Mnist(path=str(tmp_path)).load()
    tests = written["t10k"].reshape(30, 12)
    assert np.array_equal(data["images"][data["test"]], tests)
    assert Mnist(path=str(tmp_path)).spec(data).length == 12


IMAGES = idx(np.zeros((3, 2, 2), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x1f\x8bnot gzip", "is a damaged gzip file"),
        (gzip.compress(IMAGES, mtime=0)[:-9], "is a damaged gzip file"),
        (IMAGES[:-1], "declares 12 bytes of data but contains 11"),
        (IMAGES + b"x", "declares 12 bytes of data but contains 13"),
        (IMAGES[:7], "is not an idx file"),
        (idx(np.zeros(12, np.uint8)), "is not an idx file of bytes with 3 axes"),
        (b"P5 28 28 255 and so on", "is not an idx file"),
    ],
)
def test_broken_idx_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_idx(path, 3)


def test_mnist_labels_must_fit(tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(IMAGES)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(2, np.uint8)))
    assert "has 3 images" in message_of(Mnist(path=str(tmp_path)))
    labels.write_bytes(idx(np.array([1, 10, 2], np.uint8)))
    assert "has label 10; permitted: 0 to 9" in message_of(Mnist(path=str(tmp_path)))


def test_the_real_mnist(rnnjax_data: Path) -> None:
    folder = rnnjax_data / "mnist"
    if not folder.is_dir():
        pytest.skip("the data folder has no mnist")
    data = Mnist(path=str(folder)).load()
    if len(data["images"]) == 10_000:
        assert [len(data[part]) for part in ("train", "validation", "test")] == [
            8000, 1000, 1000,
        ]  # fmt: skip
        assert data["labels"][:5].tolist() == [7, 2, 1, 0, 4]
    assert data["images"].shape[1] == 784


def test_arrays_choose_the_loss_by_the_targets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = str(tmp_path / "a.npz")
    classes = np.arange(50) % 3
    np.savez(
        path, inputs=rng.integers(0, 9, (50, 4)), targets=classes, other=classes / 2
    )
    task = Arrays(path=path)
    data = task.load()
    spec = task.spec(data)
    assert (spec.loss, spec.output_size, spec.vocabulary) == ("cross_entropy", 3, 9)
    share = np.bincount(classes[data["train"]]).max() / len(data["train"])
    assert spec.baseline == pytest.approx(share)
    assert spec.solved == pytest.approx(0.1 * share + 0.9)
    task = Arrays(path=path, target="other")
    spec = task.spec(task.load())
    assert (spec.loss, spec.output_size) == ("squared_error", 1)
    training = classes[task.load()["train"]] / 2
    assert spec.baseline == pytest.approx(np.mean((training - training.mean()) ** 2))


@pytest.mark.filterwarnings("ignore:.*too few examples")
def test_csv_floats_are_vectors(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{i}.5,{i},{i % 2}" for i in range(10)]
    path.write_text("\n".join(["x0,x1,target", *rows]))
    task = Arrays(path=str(path))
    data = task.load()
    batch = task.heldout("validation", 1, data)
    row = int(data["validation"][0])
    assert batch.inputs[:, 0, 0].tolist() == [row + 0.5, row]
    assert batch.targets.tolist() == [row % 2]
    assert task.spec(data).input_size == 1


GOOD = {"inputs": np.zeros((9, 4), int), "targets": np.zeros(9, int)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"input": GOOD["inputs"]},
            "unknown array in .* 'inputs'; did you mean input?",
        ),
        ({"inputs": GOOD["inputs"]}, "unknown array in .* 'targets'"),
        ({**GOOD, "targets": np.zeros(8, int)}, "targets and inputs differ"),
        ({**GOOD, "targets": np.zeros((9, 2), int)}, "targets have shape"),
        ({**GOOD, "inputs": np.zeros((9, 4, 2), int)}, "inputs have shape"),
        ({**GOOD, "inputs": np.zeros(9)}, "inputs have shape"),
        ({**GOOD, "inputs": np.full((9, 4), -1)}, "inputs .* must not be negative"),
        ({**GOOD, "inputs": np.full((9, 4), np.nan)}, "inputs contains NaN"),
        ({**GOOD, "inputs": np.full((9, 4), "a")}, "inputs has dtype <U1"),
        ({**GOOD, "targets": np.array([{}] * 9)}, "not a readable .npz"),
        ({**GOOD, "lengths": np.zeros(9, int)}, "lengths must be .* from 1 to 4"),
        ({**GOOD, "lengths": np.ones(9)}, "lengths must be .* from 1 to 4"),
        ({**GOOD, "lengths": np.full(9, 5)}, "lengths must be .* from 1 to 4"),
        ({name: array[:2] for name, array in GOOD.items()}, "2 examples"),
    ],
)
def test_bad_npz_files(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=message):
        Arrays(path=str(path)).load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "x0,x1,target\n", "a header but no rows"),
        ("a.csv", "x0,x1,label\n1,2,3\n", "'target'; known: label, x0, x1"),
        ("a.csv", "x0,x2,target\n1,2,3\n", "has no column x1"),
        ("a.csv", "target\n1\n", "has no input column"),
        ("a.csv", "x0,target\n1,2\n,3\n", "line 3: column x0 has no value"),
        ("a.csv", "x0,target\n1,2\none,3\n", "column x0 contains text"),
        ("a.csv", "x0,target\n1,2,3,4\n", "not a readable .csv"),
        ("a.csv", b"x0,target\n\xff\xfe,2\n", "line 2: byte 0xff is not UTF-8"),
        ("a.npz", "no archive", "not a readable .npz"),
        ("a.npz", b"PK\x03\x04 broken", "not a readable .npz"),
        ("a.txt", "x0,target", "permitted: a .npz or .csv file"),
    ],
)
def test_bad_array_files(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        Arrays(path=str(path)).load()
    assert "\n" not in str(caught.value)


USER_TASK = """
import dataclasses
from typing import ClassVar
from rnnjax.tasks import Adding, Task

@dataclasses.dataclass(frozen=True)
class MyTask(Adding):
    name: ClassVar[str] = "mine"
    length: int = 7

number = 3
class NoTask: ...
"""


def test_a_users_file_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "my file.py"
    for length in (7, 8):
        path.write_text(USER_TASK.replace("= 7", f"= {length}"))
        task = execute_file(path).MyTask
        assert task.name == "mine" and task().spec({}).length == length


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n1 / 0\n", "tasks.py:2: ZeroDivisionError: division by zero"),
        ("x = 1\nclass (", "tasks.py:2: SyntaxError: "),
        ("import no_such_thing", ":1: ModuleNotFoundError: No module named"),
        ("raise ValueError('a\\nb')", ":1: ValueError: a$"),
        ("import sys\nsys.exit(3)", ":2: SystemExit: 3"),
    ],
)
def test_errors_of_a_users_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tasks.py"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        execute_file(path)
    assert "\n" not in str(caught.value)
