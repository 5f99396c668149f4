"""Find out which runs functions would train, so that they can be trained together.

A launcher that runs many task functions first calls each of them inside `collect`: the
first `rnnjax.train` of a function then does not train, but records the request and ends
the function. All requests are trained in packs. When the functions are called again,
their runs are already finished.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator

from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.settings import LaunchSettings


Request = tuple[Job, LaunchSettings]
"""The run that one call of `rnnjax.train` requests."""


class Collected(BaseException):
    """Ends a function at its first request; `except Exception` does not catch it."""


_REQUESTS: contextvars.ContextVar[list[Request] | None] = contextvars.ContextVar(
    "requests", default=None
)


def ask(job: Job, settings: LaunchSettings) -> None:
    """Inside of `collect`, record a request and end the calling function.

    Outside of `collect`, do nothing.

    Raises:
        Collected: inside of `collect`.
    """
    requests = _REQUESTS.get()
    if requests is not None:
        requests.append((job, settings))
        raise Collected


@contextlib.contextmanager
def collect() -> Iterator[list[Request]]:
    """Collect the request of a function that is called inside, and end the function."""
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
    """Launch all requests in packs, equal ones only once; other runs survive a failure.

    Raises:
        UserError: as `rnnjax.sweeps.launch.launch`.
    """
    by_settings: dict[LaunchSettings, list[Job]] = {}
    for job, settings in requests:
        by_settings.setdefault(settings, []).append(job)
    for settings, jobs in by_settings.items():
        launch(jobs, settings, command, progress())
