"""Data files that are made to hurt: refused before they cost time, memory or more."""

import gzip
import io
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.tasks import Arrays, Mnist
from tests.test_tasks_files import idx


ROWS = 30
TARGETS = np.arange(ROWS) % 2
NAMES = {
    "arrays": ("a.npz", "a.csv"),
    "reviews": ("a.tsv",),
    "text": ("a.txt",),
    "mnist": ("t10k-labels-idx1-ubyte",),
}
PLACES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a device without end": lambda file: file.symlink_to("/dev/zero"),
    "an empty device": lambda file: file.symlink_to("/dev/null"),
}


def pictures(count: int) -> bytes:
    return idx(np.zeros((count, 28, 28), np.uint8))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("task", NAMES)
def test_what_is_no_file_is_not_waited_for(
    task: str,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES[task]:
        (tmp_path / "t10k-images-idx3-ubyte").write_bytes(pictures(3))
        (tmp_path / name).unlink(missing_ok=True)
        PLACES[place](tmp_path / name)
        path = "." if task == "mnist" else name
        assert main(["train", "-n", f"task={task}", f"task.path={path}"]) == 2
        said = capsys.readouterr().err
        kind = "Not a regular file|Is a directory|has no .txt, .tsv or .csv file"
        assert re.search(kind, said) and said.count("\n") == 1


def header(array: np.ndarray, shape: Any, descr: str | None = None) -> bytes:
    """A .npy file whose header declares another shape or type than it has."""
    file = io.BytesIO()
    told = {"descr": descr or array.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, told)
    return file.getvalue() + array.tobytes()


def archive(file: Path, inputs: bytes, **others: bytes) -> str:
    targets = io.BytesIO()
    np.save(targets, TARGETS)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("inputs.npy", inputs)
        packed.writestr("targets.npy", targets.getvalue())
        for name, content in others.items():
            packed.writestr(name, content)
    return str(file)


INPUTS = np.ones((ROWS, 4), np.int64)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (
            header(INPUTS, (2**40, 4)),
            "declares 35184372088832 bytes of data but contains",
        ),
        (header(INPUTS, (2**62, 2**62)), "declares .* bytes of data but contains 960"),
        (header(INPUTS, (ROWS, 4), "<U100000000"), "declares 48000000000 bytes"),
        (header(INPUTS, (-1, 4)), "declares -32 bytes"),
        (header(INPUTS, (ROWS, 3)), "declares 720 bytes of data but contains 960"),
        (header(INPUTS, (ROWS, 4), "|O"), "contains Python objects"),
        (b"\x93NUMPY\x03\x00" + bytes(40), "has unsupported format"),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 4) + b"x()\n", "not a readable .npz"),
        (b"", "not a readable .npz"),
    ],
)
def test_a_header_that_does_not_fit(
    inputs: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is reserved for it: NumPy would ask for that memory first."""
    path = archive(tmp_path / "a.npz", inputs)

    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("it was read")

    if "Python" in reason or "declares" in reason:
        monkeypatch.setattr(np.lib.format, "read_array", read)
    with pytest.raises(UserError, match=reason) as caught:
        Arrays(path=path).load()
    assert " at 0x" not in str(caught.value)


def test_arrays_that_nobody_asked_for_are_not_unpacked(tmp_path: Path) -> None:
    content = header(INPUTS, INPUTS.shape)
    path = archive(tmp_path / "a.npz", content, **{"notes.txt": b"?", "b.npy": b""})
    assert Arrays(path=path).load()["inputs"].shape == (ROWS, 4)


def test_one_array_under_the_name_of_an_archive(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    with file.open("wb") as opened:
        np.save(opened, INPUTS)
    with pytest.raises(UserError, match="a.npz is not a readable .npz file"):
        Arrays(path=str(file)).load()


def test_more_than_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros are packed a thousand times: small files that fill all memory."""
    monkeypatch.setattr(
        "rnnjax.tasks.readers.text_files.free_host_memory", lambda: 2.0**20
    )
    zeros = np.zeros((2**16, 8), np.int64)
    path = archive(tmp_path / "a.npz", header(zeros, zeros.shape))
    with pytest.raises(UserError, match="declares 0.00391 GiB of data, too much"):
        Arrays(path=path).load()
    packed = gzip.compress(pictures(2**12))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(packed)
    with pytest.raises(UserError, match="GiB of data, too much for the memory"):
        Mnist(path=str(tmp_path)).load()


def test_no_more_is_unpacked_than_a_file_declares(tmp_path: Path) -> None:
    content = pictures(2) + bytes(2**24)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match="1568 bytes of data but contains more"):
        Mnist(path=str(tmp_path)).load()


def test_data_for_which_memory_does_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Arrays, "load", load)
    assert main(["train", "-n", "task=arrays"]) == 2
    said = capsys.readouterr().err
    assert said == "rnnjax: task=arrays: its data needs more memory than is available\n"
