"""The base of things that a configuration selects by name: optimizers, schedules, …

A choice is a registered frozen dataclass. Its fields are its keys in a configuration.
Float fields are inputs of the compiled program, so that runs that differ only in them
share one program.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from rnnjax.checks import check_range


@dataclasses.dataclass(frozen=True)
class Choice:
    """Base of optimizers, learning-rate schedules and penalties."""

    name: ClassVar[str]
    group: ClassVar[str]
    """The key in the configuration, with which messages start."""

    def check(self) -> None:
        """Raise a `UserError` that names the key if a value is out of range."""

    def numbers(self) -> dict[str, float | int]:
        """The fields that are inputs of the compiled program, by name."""
        fields = dataclasses.fields(self)
        return {f.name: getattr(self, f.name) for f in fields if f.type is float}

    def static(self) -> Self:
        """A copy with default `numbers`, on which the compiled program depends."""
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
