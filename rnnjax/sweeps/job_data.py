"""The data of jobs, identified by its content."""

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
from rnnjax.training.build import build_task, compared, forget_data
from rnnjax.training.rehearsal import free_host_memory
from rnnjax.training.sizes import in_bytes
from rnnjax.user_code import where_in


def with_data(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with the digests of their data, which is read and checked here.

    A digest depends only on the arrays, not on the location of a file.

    Raises:
        UserError: data cannot be read, see the tasks; or there are too few held-out
            examples for `probe.signal`.
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
            message = f"task={name}: its data needs more memory than is available"
            raise UserError(message) from error
        except Exception as error:
            where = where_in(TASKS[name], error, "sample")
            raise UserError(f"{where}task={name} fails: {one_line(error)}") from error
        _check_size(name, data)
        found = data_digest(data)
        if _READ.setdefault((TASKS[name], fields), found) != found:
            forget_data()  # a file has changed during the life of this process
            _READ[TASKS[name], fields] = found
        return found

    tasks = [(job.config.task, job.config.task_options) for job in jobs]
    pairs = zip(jobs, tasks, strict=True)
    found = [dataclasses.replace(job, data=digest(*task)) for job, task in pairs]
    for one in jobs:
        if one.config.probe.preset == "full" and one.config.probe.signal:
            compared(one.config, one.config.probe.signal)  # are there enough examples?
    return found


def check_loaded(jobs: Iterable[Job]) -> None:
    """Make sure that the data in this process still has the digests of the jobs.

    A file may change after the jobs were made, especially while they wait in a queue.

    Raises:
        UserError: the data of a task has changed.
    """
    digests = {(job.config.task, job.config.task_options): job.data for job in jobs}
    for (name, fields), known in digests.items():
        _, data = build_task(name, fields)
        if data_digest(data) != known:
            raise UserError(
                f"the data of task={name} has changed since the launch began; "
                "launch it again"
            )


def _check_size(name: str, data: Mapping[str, Any]) -> None:
    """Raise a `UserError` if memory is too small to copy an array, as training does.

    That a task could make the array proves nothing: NumPy's zeros take no memory until
    they are read.
    """
    leaves = jax.tree_util.tree_leaves_with_path(dict(data))
    for path, leaf in leaves:
        if leaf.nbytes > (free := free_host_memory()):
            raise UserError(
                f"task={name}: its data{jax.tree_util.keystr(path)} of shape "
                f"{leaf.shape} needs {in_bytes(leaf.nbytes)} of memory and "
                f"{in_bytes(free)} is free"
            )


_READ: dict[Hashable, str | None] = {}
"""Digests of the data of tasks, as this process last read it."""


def data_digest(data: Mapping[str, Any]) -> str | None:
    """SHA-256 of names, dtypes, shapes and bytes of all arrays; None without any."""
    if not data:
        return None
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(data)):
        array = np.ascontiguousarray(leaf)
        head = f"{jax.tree_util.keystr(path)} {array.dtype.str} {array.shape}\n"
        total.update(head.encode())
        total.update(array.tobytes())
    return total.hexdigest()
