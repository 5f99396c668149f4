"""Small files of a user's, and runs of them that share one program."""

import atexit
import contextlib
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import rnnjax
from rnnjax.tasks import TASKS
from scripts.odd_inputs.case import TINY


ROWS, STEPS, VOCABULARY = 60, 4, 5
ARRAYS = [*TINY.split(), "task=arrays"]


def tokens(seed: int = 0) -> np.ndarray:
    """Tokens ``(ROWS, STEPS)``, the largest one among them."""
    found = np.random.default_rng(seed).integers(0, VOCABULARY, (ROWS, STEPS))
    found[:, 0] = VOCABULARY - 1
    return found


def classes() -> np.ndarray:
    """Two classes in turn."""
    return np.arange(ROWS) % 2


def npz(path: str, seed: int = 0, **arrays: Any) -> str:
    """Write an archive of arrays, by default tokens and classes; returns its path."""
    given: dict[str, Any] = {"inputs": tokens(seed), "targets": classes()} | arrays
    with Path(path).open("wb") as file:  # savez would add .npz to a name
        np.savez(file, **given)
    return path


def csv(path: str, rows: np.ndarray, targets: Any, head: str = "", end: str = "\n"):
    """Write a table with columns x0, x1, …, target; returns its path."""
    columns = [f"x{step}" for step in range(rows.shape[1])] + ["target"]
    lines = [",".join(columns)]
    for row, target in zip(rows, targets, strict=True):
        lines.append(",".join(map(str, [*row, target])))
    Path(path).write_text(head + end.join(lines) + end, encoding="utf-8", newline="")
    return path


def load(path: str, name: str = "arrays", **fields: Any) -> Any:
    """The arrays that a task reads from a file."""
    made: Any = TASKS[name]
    return made(path=path, **fields).load()


def train(*overrides: str, path: str | None = None, out: str = "pool") -> Any:
    """A run of two updates on arrays."""
    words = [] if path is None else [f'task.path="{path}"']
    return rnnjax.train(*ARRAYS, *words, *overrides, out=out)


@functools.cache
def finished() -> Any:
    """A run on `tokens`, trained once for all cases that only ask it for answers."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    with contextlib.chdir(folder.name):
        return train(path=str(Path(npz("a.npz")).absolute()))


def runs(out: str = "pool") -> list[Path]:
    """The run directories of a pool."""
    return sorted(file.parent for file in Path(out).glob("*/manifest.json"))
