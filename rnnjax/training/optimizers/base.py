"""What an optimizer is: an update rule of optax with numbers that may be traced."""

import dataclasses
from typing import Any, ClassVar

import optax

from rnnjax.choice import Choice
from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Optimizer(Choice):
    """An update rule; the learning rate η is given to it, everything else are fields.

    The formulas use g = ∂L/∂w.
    """

    group: ClassVar[str] = "optimizer"

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        """The rule; `lr` and the `numbers` may be traced.

        Built of optax's transformations with a traced learning rate, which equals
        optax's own optimizers bit for bit (`inject_hyperparams` does not).
        """
        raise NotImplementedError

    def first_update(self) -> FirstUpdate | None:
        """What the first update multiplies each entry of the gradient by.

        None: that is not known, or is no function of that entry alone.
        """
        return None


OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")
"""Optimizers by name."""

BELOW_ONE = 0.999_999
"""The largest decay of a running mean."""
