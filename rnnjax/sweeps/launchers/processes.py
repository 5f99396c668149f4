"""A process a run, some at a time, on this machine."""

import os
from typing import Any

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from rnnjax.sweeps.launchers.order import Order, Parcel


def joblib(order: Order) -> int:
    """Each run alone in a worker process, ``launcher.workers`` of them at a time.

    A worker takes one run after another, each with a program compiled for it. It has
    one device: the runs share the cores, as the packs of one process do. One worker is
    this process itself.
    """
    workers = order.settings.launcher.workers or os.cpu_count() or 1
    parcels = [order.parcel([one], devices=1) for one in order.left]
    order.progress.begin([parcel.size for parcel in parcels], order.there)
    with order.progress:
        one_by_one: Any = {"return_as": "generator_unordered", "batch_size": 1}
        tasks = (delayed(_done)(parcel) for parcel in parcels)
        results: Any = Parallel(workers, **one_by_one)(tasks)
        failed = 0
        try:
            for parcel, lost in results:
                order.progress.advance(parcel.updates, len(parcel.jobs))
                failed += lost
        except KeyboardInterrupt:
            get_reusable_executor().shutdown(wait=False, kill_workers=True)
            raise
    return failed


def _done(parcel: Parcel) -> tuple[Parcel, int]:
    return parcel, parcel()
