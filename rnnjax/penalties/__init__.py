"""Penalties: what can be added to the loss so that gradients keep their size.

To add one, write a file like `omega` with a class that is registered; its fields are
its keys in a configuration, its first line of documentation is what `rnnjax list`
shows.
"""

from rnnjax.penalties.base import PENALTIES, NoPenalty, Penalty
from rnnjax.penalties.flossing import Flossing
from rnnjax.penalties.omega import OmegaPenalty
from rnnjax.registry import import_modules


import_modules(__name__, __path__)


__all__ = ["PENALTIES", "Flossing", "NoPenalty", "OmegaPenalty", "Penalty"]
