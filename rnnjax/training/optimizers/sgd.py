"""Stochastic gradient descent."""

import dataclasses
from typing import Any, ClassVar

import optax

from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.training.optimizers.base import OPTIMIZERS, Optimizer


@OPTIMIZERS.register("sgd")
@dataclasses.dataclass(frozen=True)
class SGD(Optimizer):
    """w ← w − η g with g = ∂L/∂w"""

    name: ClassVar[str] = "sgd"
    elementwise: ClassVar[bool] = True

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        return optax.scale_by_learning_rate(lr)

    def first_update(self) -> FirstUpdate:
        return FirstUpdate("1", plain=True)
