"""A process a run, some at a time, on this machine."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager

from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.backend.process import LokyProcess

from rnnjax import interrupts
from rnnjax.counting import count
from rnnjax.errors import plain_warnings
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.launchers.assignment import Assignment
from rnnjax.sweeps.progress import Progress


SAVING_SECONDS = interrupts.GRACE_SECONDS - 1.5
"""For the workers to save in, of the time that an interrupted launch has."""


def joblib(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Each run alone in a worker process, ``launcher.workers`` of them at a time.

    A worker takes one run after another, each with a program compiled for it. It has
    one device: the runs share the cores, as the packs of one process do.
    """
    workers = assignment.settings.launcher.workers or os.cpu_count() or 1
    shares = [assignment.share([job], devices=1) for job in assignment.left]
    progress.begin([share.size for share in shares], assignment.done)
    failed = ended = 0
    with progress, _without_folder(), interrupts.closing(_kill):
        executor = get_reusable_executor(
            workers, initializer=_begin, initargs=(os.getpid(),)
        )
        tasks = {executor.submit(_done, share): share for share in shares}
        try:
            for task in _as_completed(set(tasks)):
                share = tasks[task]
                try:
                    failed += task.result()
                except BrokenExecutor:  # without one worker there are none
                    ended += len(share.jobs)
                progress.advance(share.updates, len(share.jobs))
        except BaseException:
            _end(list(tasks))
            executor.shutdown(wait=True, kill_workers=True)
            raise
        if ended:
            said = "a worker process was killed, as happens where memory runs out"
            progress.warn(f"{count(ended, 'run')} failed: {said}")
    return failed + ended


@contextmanager
def _without_folder() -> Iterator[None]:
    """Workers look for no module in the folder where they are started."""
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _as_completed(tasks: set[Future[int]]) -> Iterator[Future[int]]:
    """In short waits: a long one would not notice a signal."""
    while tasks:
        done, tasks = wait(tasks, 0.2, FIRST_COMPLETED)
        if interrupts.noted():  # where Python dropped the exception
            raise KeyboardInterrupt
        yield from done


def _end(tasks: list[Future[int]]) -> None:
    """Let the workers save what they are at, and end them."""
    for task in tasks:
        task.cancel()
    for worker in _workers():
        worker.terminate()
    wait(tasks, SAVING_SECONDS)
    _kill()


def _kill() -> None:
    for worker in _workers():
        if worker.pid and worker.is_alive():
            os.kill(worker.pid, signal.SIGKILL)


def _workers() -> list[LokyProcess]:
    children = multiprocessing.active_children()
    return [child for child in children if isinstance(child, LokyProcess)]


def _begin(launch: int) -> None:
    """In a worker: the launch passes on what a terminal sends to all its processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupts.note)
    threading.Thread(target=_end_with, args=(launch,), daemon=True).start()


def _end_with(launch: int) -> None:
    """End this worker when the process of its launch is gone; it saves before."""
    while os.getppid() == launch:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(interrupts.GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)


def _done(share: Assignment) -> int:
    if interrupts.noted():  # taken from the queue after the launch was interrupted
        raise KeyboardInterrupt
    with plain_warnings(), interrupts.watched((signal.SIGTERM,)):
        return share.compute()
