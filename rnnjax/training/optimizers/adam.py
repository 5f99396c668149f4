"""Adam (Kingma & Ba 2015)."""

import dataclasses
from typing import Any, ClassVar

import optax

from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.training.optimizers.base import BELOW_ONE, OPTIMIZERS, Optimizer


@OPTIMIZERS.register("adam")
@dataclasses.dataclass(frozen=True)
class Adam(Optimizer):
    """w ← w − η m̂ / (√v̂ + eps), Kingma & Ba 2015

    m̂ and v̂ are the bias-corrected running means of g and g².

    Attributes:
        b1, b2: decay rates of the means of g and g².
        eps: ε.
    """

    name: ClassVar[str] = "adam"
    elementwise: ClassVar[bool] = True
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        return optax.chain(
            optax.scale_by_adam(self.b1, self.b2, self.eps),
            optax.scale_by_learning_rate(lr),
        )

    def first_update(self) -> FirstUpdate:
        """At the first update the bias-corrected means are g and g²."""
        return FirstUpdate(f"1 / (|G| + {self.eps:g})", beside=self.eps)

    def check(self) -> None:
        self._check(0.0, BELOW_ONE, "b1", "b2")
        self._check(0.0, 1.0, "eps")
