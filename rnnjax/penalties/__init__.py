"""Penalties: terms added to the loss to keep gradients from vanishing or exploding.

To add one, write a file like `omega` with a registered class. Its fields are its keys
in a configuration, and the first line of its docstring is what `rnnjax list` shows.
"""

from rnnjax.penalties.base import PENALTIES, NoPenalty, Penalty
from rnnjax.penalties.flossing import Flossing
from rnnjax.penalties.omega import OmegaPenalty
from rnnjax.registry import import_modules


import_modules(__name__, __path__)


__all__ = ["PENALTIES", "Flossing", "NoPenalty", "OmegaPenalty", "Penalty"]
