"""Packs as tasks of a Ray cluster, a running one or one of this machine alone."""

import ray as engine  # pyright: ignore[reportMissingImports]

from rnnjax.errors import UserError
from rnnjax.sweeps.launchers.order import Order, Parcel


RETRIES = 20
"""How often a task is started again after its node or worker died."""


def ray(order: Order) -> int:
    """One task for each pack of ``launcher.cpus`` cores.

    A task whose node dies is started again elsewhere: what it sealed is skipped, what
    it saved goes on. The pool must be on a file system that all nodes see.

    Raises:
        UserError: there is no cluster at the address.
    """
    chosen = order.settings.launcher
    started = not engine.is_initialized()
    if started:
        try:
            engine.init(address=chosen.address, log_to_driver=False)
        except ConnectionError as error:
            reason = str(error).partition(".")[0]
            raise UserError(
                f"launcher.address={chosen.address}: {reason}; null starts a local one"
            ) from None
    try:
        return _carry_out(order)
    finally:
        if started:
            engine.shutdown()


def _carry_out(order: Order) -> int:
    cpus = order.settings.launcher.cpus
    parcels = order.parcels(devices=cpus)
    order.progress.begin([parcel.size for parcel in parcels], order.there)
    # A worker of its own for each task: JAX keeps the devices that it began with.
    options = {"num_cpus": cpus, "max_retries": RETRIES, "max_calls": 1}
    task = engine.remote(**options)(_call)
    waiting = {task.remote(parcel): parcel for parcel in parcels}
    failed = 0
    with order.progress:
        while waiting:
            ready, _ = engine.wait(list(waiting), num_returns=1)
            for reference in ready:
                parcel = waiting.pop(reference)
                try:
                    failed += engine.get(reference)
                except engine.exceptions.RayError as error:
                    failed += len(parcel.jobs)
                    reason = str(error).strip().splitlines()[-1]
                    order.progress.warn(f"{len(parcel.jobs)} runs failed: {reason}")
                order.progress.advance(parcel.updates, len(parcel.jobs))
    return failed


def _call(parcel: Parcel) -> int:
    return parcel()
