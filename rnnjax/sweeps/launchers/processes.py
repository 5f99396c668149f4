"""The launcher ``joblib``: one process per run, several at a time, on this machine."""

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
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.launchers import compute
from rnnjax.sweeps.progress import Progress


SAVING_SECONDS = interrupts.GRACE_SECONDS - 1.5
"""Time that workers get for saving after an interrupt, within `GRACE_SECONDS`."""


def joblib(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Compute each run by itself in a worker process, ``launcher.workers`` at a time.

    A worker computes one run after another, and compiles a program for each. It has a
    single device; the workers share the cores, as the packs of one process do.
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
                except BrokenExecutor:  # the executor stops if one worker dies
                    ended += len(share.jobs)
                progress.advance(share.updates, len(share.jobs))
        except BaseException:
            _end(list(tasks))
            executor.shutdown(wait=True, kill_workers=True)
            raise
        if ended:
            said = "a worker process was killed, as happens if memory runs out"
            progress.warn(f"{count(ended, 'run')} failed: {said}")
    return failed + ended


@contextmanager
def _without_folder() -> Iterator[None]:
    """Keep workers from importing modules from the folder in which they start."""
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
    """Tasks as they complete; waits are short, as a long one would not see a signal."""
    while tasks:
        done, tasks = wait(tasks, 0.2, FIRST_COMPLETED)
        if interrupts.noted():  # in case Python dropped the KeyboardInterrupt
            raise KeyboardInterrupt
        yield from done


def _end(tasks: list[Future[int]]) -> None:
    """Let the workers save their state, then end them."""
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
    """Set up a worker.

    It ignores SIGINT, which a terminal sends to all processes: the launch passes the
    interrupt on as SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupts.note)
    threading.Thread(target=_end_with, args=(launch,), daemon=True).start()


def _end_with(launch: int) -> None:
    """Once the launching process is gone, let this worker save, then end it."""
    while os.getppid() == launch:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(interrupts.GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)


def _done(share: Assignment) -> int:
    if interrupts.noted():  # taken from the queue after the launch was interrupted
        raise KeyboardInterrupt
    with plain_warnings(), interrupts.watched((signal.SIGTERM,)):
        return compute(share)
