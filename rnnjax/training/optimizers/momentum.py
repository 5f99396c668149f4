"""Gradient descent with momentum."""

import dataclasses
from typing import Any, ClassVar

import optax

from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.training.optimizers.base import BELOW_ONE, OPTIMIZERS, Optimizer


@OPTIMIZERS.register("momentum")
@dataclasses.dataclass(frozen=True)
class Momentum(Optimizer):
    """v ← momentum v + g, w ← w − η v"""

    name: ClassVar[str] = "momentum"
    elementwise: ClassVar[bool] = True
    momentum: float = 0.9

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        return optax.chain(optax.trace(self.momentum), optax.scale_by_learning_rate(lr))

    def first_update(self) -> FirstUpdate:
        return FirstUpdate("1", plain=True)

    def check(self) -> None:
        self._check(0.0, BELOW_ONE, "momentum")
