"""Compile the next packs while one runs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from rnnjax.sweeps.packing import JobPack
from rnnjax.training.loop import PackTraining


AHEAD = 2
"""Number of packs that are compiled while another one runs."""


def prefetch(
    workers: ThreadPoolExecutor,
    packs: Iterable[JobPack],
    make_ready: Callable[[JobPack], PackTraining],
) -> Iterator[tuple[JobPack, Future[PackTraining]]]:
    """Each pack with its training, which is compiled while earlier packs run.

    Packs are drawn from `packs` only when their compilation is due.
    """
    waiting: deque[tuple[JobPack, Future[PackTraining]]] = deque()
    coming = iter(packs)
    while True:
        for pack in islice(coming, AHEAD + 1 - len(waiting)):
            waiting.append((pack, workers.submit(make_ready, pack)))
        if not waiting:
            return
        yield waiting.popleft()
