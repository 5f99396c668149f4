"""Where and how often the state of a pack is saved during training."""

import dataclasses
from collections.abc import Callable

from rnnjax.store.checkpoint import PackCheckpoint


@dataclasses.dataclass(frozen=True)
class Saving:
    """Where and how often a pack is saved.

    Attributes:
        checkpoint: the checkpoint to save to.
        every_seconds: wall seconds between two saves.
        check: passed to each save; raises `rnnjax.store.leases.Overtaken` if another
            process has taken over the pack.
    """

    checkpoint: PackCheckpoint
    every_seconds: float = 60.0
    check: Callable[[], None] = lambda: None
