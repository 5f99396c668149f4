"""What the modules of a program hold in this process, to notice a replaced function."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


class Held:
    """All functions, classes, methods and entries of registries of some modules.

    Two are equal if they hold the very same objects, which are kept alive so that no
    other one can take the place of one in memory.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self.things = tuple(_things(modules))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Held) or len(self.things) != len(other.things):
            return False
        return all(a is b for a, b in zip(self.things, other.things, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.things)))


def _things(modules: Iterable[str]) -> Iterator[Any]:
    for name in sorted(modules):
        for value in tuple(vars(sys.modules.get(name, object)).values()):
            yield value
            if isinstance(value, Mapping):
                yield from tuple(value.values())
            if isinstance(value, type) and value.__module__ == name:
                yield from tuple(vars(value).values())
