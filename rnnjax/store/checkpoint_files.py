"""The arrays of a checkpoint on disk: Orbax for the state, npz for histories."""

import functools
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np


def keys_of(tree: Any) -> list[str]:
    """One readable name per leaf, with a number so that no two names are equal."""
    paths = jax.tree.leaves_with_path(tree)
    simple = (jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in paths)
    return [f"{number:04d}.{name}" for number, name in enumerate(simple)]


def leaves_of(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a pytree as NumPy arrays, by the names of `keys_of`."""
    leaves = jax.tree.map(np.asarray, jax.device_get(jax.tree.leaves(tree)))
    return dict(zip(keys_of(tree), leaves, strict=True))


def save_step(folder: Path, leaves: dict[str, np.ndarray]) -> None:
    """Write the leaves of a state with Orbax."""
    with _quiet(), _orbax() as checkpointer:
        checkpointer.save(folder, leaves)


def load_step(folder: Path) -> dict[str, np.ndarray]:
    """Read the leaves of a state with Orbax."""
    with _quiet(), _orbax() as checkpointer:
        return checkpointer.restore(folder)


def _orbax() -> Any:
    import orbax.checkpoint as ocp  # takes .3 s, and short runs save no checkpoint

    return ocp.PyTreeCheckpointer()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax from logging tracebacks of errors that it raises here as well."""

    def silent(record: logging.LogRecord) -> bool:
        return False

    _drop_late_callbacks()
    logger = logging.getLogger("absl")
    logger.addFilter(silent)
    try:
        yield
    finally:
        logger.removeFilter(silent)


@functools.cache
def _drop_late_callbacks() -> None:
    """Suppress messages about writes that finish after a save has failed.

    At the first error, Orbax closes the event loop of the save, while TensorStore's
    threads are still writing and later report to that loop. Of several writes that
    fail, asyncio reports all but the first when their tasks are collected as garbage.
    When either happens is unknown, so these messages are suppressed for the rest of
    the process.
    """
    told = sys.unraisablehook

    def hook(what: Any) -> None:
        if str(what.exc_value) != "Event loop is closed":
            told(what)

    def unknown(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return "never retrieved" not in text or "orbax" not in text

    sys.unraisablehook = hook
    logging.getLogger("asyncio").addFilter(unknown)


def save_npz(arrays: Mapping[str, np.ndarray], file: Path) -> None:
    """Write the new entries of a history."""
    with open(file, "wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
