"""Find out what functions would train, so that it can be trained together.

A launcher that runs many task functions calls each of them once inside `collect`: the
first `rnnjax.train` of a function does not train but ends the call. All requests then
go into packs, and when the functions are called again, their runs are there.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterable, Iterator

from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.settings import LaunchSettings


@dataclasses.dataclass(frozen=True)
class Request:
    """What one `rnnjax.train` asks for."""

    job: Job
    settings: LaunchSettings


class Collected(BaseException):
    """Ends a function at its first request; no `except Exception` stops it."""


_REQUESTS: contextvars.ContextVar[list[Request] | None] = contextvars.ContextVar(
    "requests", default=None
)


def ask(job: Job, settings: LaunchSettings) -> None:
    """Note a request and end the function that makes it, inside of `collect` only.

    Raises:
        Collected: inside of `collect`.
    """
    requests = _REQUESTS.get()
    if requests is not None:
        requests.append(Request(job, settings))
        raise Collected


@contextlib.contextmanager
def collect() -> Iterator[list[Request]]:
    """Requests of what is called inside, each function ended at its first one."""
    requests: list[Request] = []
    token = _REQUESTS.set(requests)
    try:
        with contextlib.suppress(Collected):
            yield requests
    finally:
        _REQUESTS.reset(token)


def train_together(
    requests: Iterable[Request], command: str, progress: Callable[[], Progress]
) -> None:
    """Launch all requests, packed; equal ones once. A failed run stops no other.

    Raises:
        UserError: as `rnnjax.sweeps.launch.launch`.
    """
    by_settings: dict[LaunchSettings, dict[object, Job]] = {}
    for one in requests:
        by_settings.setdefault(one.settings, {}).setdefault(one.job.key, one.job)
    for settings, jobs in by_settings.items():
        launch(list(jobs.values()), settings, command, progress())
