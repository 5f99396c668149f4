"""The launcher ``ray``: packs as tasks of a running or newly started Ray cluster."""

import ray as engine  # pyright: ignore[reportMissingImports]

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.launchers import compute
from rnnjax.sweeps.progress import Progress


RETRIES = 20
"""How often a task is started again if its node or worker dies."""


def ray(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Run one task per pack, each with ``launcher.cpus`` cores.

    A task whose node dies is started again elsewhere: it skips sealed runs and resumes
    from its checkpoint. The pool must be on a file system that all nodes share.

    Raises:
        UserError: there is no cluster at the address.
    """
    chosen = assignment.settings.launcher
    started = not engine.is_initialized()
    if started:
        try:
            engine.init(address=chosen.address, log_to_driver=False)
        except ConnectionError as error:
            reason = str(error).partition(".")[0]
            raise UserError(
                f"launcher.address={chosen.address}: {reason}; null starts one here"
            ) from None
    try:
        return _carry_out(assignment, progress, chosen.cpus)
    finally:
        if started:
            engine.shutdown()


def _carry_out(assignment: Assignment, progress: Progress, cpus: int) -> int:
    shares = assignment.shares(devices=cpus)
    progress.begin([share.size for share in shares], assignment.done)
    # Each task needs a new worker, as JAX cannot change the number of devices later.
    options = {"num_cpus": cpus, "max_retries": RETRIES, "max_calls": 1}
    task = engine.remote(**options)(compute)
    waiting = {task.remote(share): share for share in shares}
    failed = 0
    with progress:
        while waiting:
            ready, _ = engine.wait(list(waiting), num_returns=1)
            for reference in ready:
                share = waiting.pop(reference)
                try:
                    failed += engine.get(reference)
                except engine.exceptions.RayError as error:
                    failed += len(share.jobs)
                    reason = str(error).strip().splitlines()[-1]
                    progress.warn(f"{count(len(share.jobs), 'run')} failed: {reason}")
                progress.advance(share.updates, len(share.jobs))
    return failed
