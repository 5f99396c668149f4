"""What a configuration chooses by name: optimizers, schedules, penalties.

A choice is a frozen dataclass that is registered. Its fields are its keys; those that
are floats are inputs of the compiled program, so that runs which differ in nothing else
share one.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from rnnjax.checks import check_range


@dataclasses.dataclass(frozen=True)
class Choice:
    """Base of all of them."""

    name: ClassVar[str]
    group: ClassVar[str]
    """The key of the configuration, with which messages begin."""

    def check(self) -> None:
        """Raise a `UserError` that names the key of a value out of its range."""

    def numbers(self) -> dict[str, float | int]:
        """What are inputs of the compiled program, by field."""
        fields = dataclasses.fields(self)
        return {f.name: getattr(self, f.name) for f in fields if f.type is float}

    def static(self) -> Self:
        """Without the `numbers`: what the compiled program depends on."""
        fields = {field.name: field for field in dataclasses.fields(self)}
        return dataclasses.replace(
            self, **{name: fields[name].default for name in self.numbers()}
        )

    def with_numbers(self, numbers: Mapping[str, Any]) -> Self:
        """The inverse of `static`; the numbers may be traced."""
        return dataclasses.replace(self, **numbers)

    def _check(self, low: float, high: float, *names: str) -> None:
        for name in names:
            check_range(f"{self.group}.{name}", getattr(self, name), low, high)
