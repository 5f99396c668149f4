"""The data of jobs, known by its content."""

import dataclasses
import functools
import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rnnjax.errors import UserError, one_line
from rnnjax.sweeps.jobs import Job
from rnnjax.tasks import TASKS
from rnnjax.tasks.user_task import where_in
from rnnjax.training.build import build_task, forget_data
from rnnjax.training.rehearsal import free_host_memory
from rnnjax.training.sizes import in_bytes


def with_data(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with the digest of their data, which is read and checked for that.

    The digest is of the arrays, so it does not depend on where a file lies.

    Raises:
        UserError: data that cannot be read; see the tasks.
    """

    @functools.cache
    def digest(name: str, fields: tuple[tuple[str, Any], ...]) -> str | None:
        task = TASKS[name](**dict(fields))
        try:
            data = task.load()
            task.spec(data)
        except UserError:
            raise
        except MemoryError as error:
            message = f"task={name}: its data need more memory than there is"
            raise UserError(message) from error
        except Exception as error:
            where = where_in(TASKS[name], error, "sample")
            raise UserError(f"{where}task={name} fails: {one_line(error)}") from error
        _check_size(name, data)
        found = data_digest(data) if data else None
        if _READ.setdefault((TASKS[name], fields), found) != found:
            forget_data()  # a file was changed while this process lives
            _READ[TASKS[name], fields] = found
        return found

    bound = []
    for job in jobs:
        found = digest(job.config.task, job.config.task_options)
        bound.append(dataclasses.replace(job, data=found))
    return bound


def check_loaded(jobs: Iterable[Job]) -> None:
    """Make sure that what this process trains on is what the jobs are known by.

    A file may change between the two, most of all in the queue of another process.

    Raises:
        UserError: the data of a task have other contents by now.
    """
    digests = {(job.config.task, job.config.task_options): job.data for job in jobs}
    for (name, fields), known in digests.items():
        _, data = build_task(name, fields)
        if (data_digest(data) if data else None) != known:
            raise UserError(
                f"the data of task={name} have changed since the launch began; "
                "launch it again"
            )


def _check_size(name: str, data: Mapping[str, Any]) -> None:
    """Raise a `UserError` if an array of a task cannot be copied, as training does.

    NumPy's zeros take no memory until they are read.
    """
    sizes = {jax.tree_util.keystr(path): leaf for path, leaf in _leaves(data)}
    largest = max(sizes, key=lambda key: sizes[key].nbytes, default=None)
    if largest is None:
        return
    needed, free = sizes[largest].nbytes, free_host_memory()
    if needed > free:
        raise UserError(
            f"task={name}: its data{largest} of shape {sizes[largest].shape} takes "
            f"{in_bytes(needed)} of memory and {in_bytes(free)} are free"
        )


_READ: dict[Hashable, str | None] = {}
"""Digests of the data of tasks when this process last read them."""


def data_digest(data: Mapping[str, Any]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all arrays."""
    total = hashlib.sha256()
    for path, leaf in _leaves(data):
        array = np.ascontiguousarray(leaf)
        head = f"{jax.tree_util.keystr(path)} {array.dtype.str} {array.shape}\n"
        total.update(head.encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _leaves(data: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(dict(data))
