"""Where, and how often, the state of a pack is saved while it trains."""

import dataclasses
from collections.abc import Callable

from rnnjax.store.checkpoint import PackCheckpoint


@dataclasses.dataclass(frozen=True)
class Saving:
    """Where and how often a pack is saved.

    Attributes:
        checkpoint: the place.
        every_seconds: wall seconds between two saves.
        check: called before each save; it raises where the pack is another process's
            by now (`rnnjax.store.leases.Overtaken`).
    """

    checkpoint: PackCheckpoint
    every_seconds: float = 60.0
    check: Callable[[], None] = lambda: None
