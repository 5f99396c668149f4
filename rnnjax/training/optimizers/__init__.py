"""Optimizers by name: our own, one file each, and those of optax.

Of optax's optimizers, all that need nothing but the gradient are available. To add one,
write a file like `adam` with a registered class. Its fields are its keys in a
configuration, and the first line of its docstring is what `rnnjax list` shows.
"""

from rnnjax.registry import import_modules
from rnnjax.training.optimizers.adam import Adam
from rnnjax.training.optimizers.base import OPTIMIZERS, Optimizer
from rnnjax.training.optimizers.momentum import Momentum
from rnnjax.training.optimizers.of_optax import register_optax
from rnnjax.training.optimizers.rmsprop import RMSProp
from rnnjax.training.optimizers.sgd import SGD


import_modules(__name__, __path__)
register_optax()

__all__ = ["OPTIMIZERS", "SGD", "Adam", "Momentum", "Optimizer", "RMSProp"]
