"""Optimizers by name: ours, a file each, and every one of optax that needs no more.

To add one, write a file like `adam` with a class that is registered; its fields are its
keys in a configuration, its first line of documentation is what `rnnjax list` shows.
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
