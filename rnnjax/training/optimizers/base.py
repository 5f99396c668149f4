"""What an optimizer is: an update rule of optax with numbers that may be traced."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import optax

from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.registry import Registry
from rnnjax.training.ranges import check_range


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An update rule; the learning rate η is given to it, everything else are fields.

    The formulas use g = ∂L/∂w.
    """

    name: ClassVar[str]

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

    def check(self) -> None:
        """Raise a `UserError` that names the key of a number out of its range."""

    def numbers(self) -> dict[str, float]:
        """The fields that are inputs of the compiled program, by name."""
        fields = dataclasses.fields(self)
        return {f.name: getattr(self, f.name) for f in fields if f.type is float}

    def static(self) -> Self:
        """Defaults in place of the `numbers`: what the compiled program depends on."""
        known = {field.name: field.default for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: known[k] for k in self.numbers()})

    def with_numbers(self, numbers: Mapping[str, Any]) -> Self:
        """The inverse of `static`; the numbers may be traced."""
        return dataclasses.replace(self, **numbers)

    def _check(self, low: float, high: float, *names: str) -> None:
        for name in names:
            check_range(f"optimizer.{name}", getattr(self, name), low, high)


OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")
"""Optimizers by name."""

BELOW_ONE = 0.999_999
"""The largest decay of a running mean."""
