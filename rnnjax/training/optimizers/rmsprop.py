"""RMSProp (Tieleman & Hinton 2012)."""

import dataclasses
import math
from typing import Any, ClassVar

import optax

from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.training.optimizers.base import BELOW_ONE, OPTIMIZERS, Optimizer


@OPTIMIZERS.register("rmsprop")
@dataclasses.dataclass(frozen=True)
class RMSProp(Optimizer):
    """v ← decay v + (1 − decay) g², w ← w − η g / √(v + eps); Tieleman & Hinton 2012

    Attributes:
        decay: decay rate ρ of the mean of g².
        eps: ε.
        eps_in_sqrt: whether ε is inside the root, as in optax and TensorFlow, or
            outside, g / (√v + ε), as in PyTorch. Where |g| is far below √ε the two
            differ by orders of magnitude.
        initial_scale: v before the first update; TensorFlow 1 uses 1.
    """

    name: ClassVar[str] = "rmsprop"
    elementwise: ClassVar[bool] = True
    decay: float = 0.9
    eps: float = 1e-8
    eps_in_sqrt: bool = True
    initial_scale: float = 0.0

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        numbers = self.decay, self.eps, self.initial_scale
        return optax.chain(
            optax.scale_by_rms(*numbers, eps_in_sqrt=self.eps_in_sqrt),
            optax.scale_by_learning_rate(lr),
        )

    def first_update(self) -> FirstUpdate:
        """At the first update the mean of g² is ρ v₀ + (1 − ρ) g²."""
        new, old = 1 - self.decay, self.decay * self.initial_scale
        mean = f"{new:g} |G|^2" + (f" + {old:g}" if old else "")
        if self.eps_in_sqrt:
            root = math.sqrt((old + self.eps) / new)
            return FirstUpdate(f"1 / sqrt({mean} + {self.eps:g})", root)
        root, beside = math.sqrt(old / new), self.eps / math.sqrt(new)
        return FirstUpdate(f"1 / (sqrt({mean}) + {self.eps:g})", root, beside)

    def check(self) -> None:
        self._check(0.0, BELOW_ONE, "decay")
        self._check(0.0, 1.0, "eps")
        self._check(0.0, 1e6, "initial_scale")
