"""The base class of optimizers: an optax update rule whose numbers may be traced."""

import dataclasses
from typing import Any, ClassVar

import optax

from rnnjax.choice import Choice
from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Optimizer(Choice):
    """An update rule; the learning rate η is an argument, everything else is a field.

    In the formulas g = ∂L/∂w.

    Attributes:
        elementwise: whether the change of an entry depends on that entry's gradients,
            its value and the number of updates alone, not on its array. The rule is
            then computed for all arrays as one vector. A subclass with a
            `transformation` of its own has to say so again.
    """

    group: ClassVar[str] = "optimizer"
    elementwise: ClassVar[bool] = False

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        """The rule as an optax transformation; `lr` and the `numbers` may be traced.

        It is composed of optax's transformations with a traced learning rate, which is
        bitwise identical to optax's own optimizers (`inject_hyperparams` is not).
        """
        raise NotImplementedError

    @classmethod
    def is_elementwise(cls) -> bool:
        """What the class says that defines `transformation`."""
        owner = next(kind for kind in cls.__mro__ if "transformation" in vars(kind))
        return bool(vars(owner).get("elementwise", False)) and cls.elementwise

    def first_update(self) -> FirstUpdate | None:
        """The factor by which the first update multiplies each gradient entry.

        None if it is unknown, or depends on more than that entry.
        """
        return None


OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")
"""Optimizers by name."""

BELOW_ONE = 0.999_999
"""The largest decay rate of a running mean."""
