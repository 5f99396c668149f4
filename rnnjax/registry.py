"""Registries, in which a cell, activation or task is found by its name.

Names in a configuration are only looked up here; nothing is imported or executed.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar, cast

from rnnjax.errors import unknown


T = TypeVar("T")
Entry = TypeVar("Entry")


class Registry(Mapping[str, T]):
    """A mapping that is filled by decorators, with a helpful error for unknown names.

    >>> shapes: Registry[type] = Registry("shape")
    >>> @shapes.register("square")
    ... class Square: ...
    >>> shapes["sqare"]
    Traceback (most recent call last):
    rnnjax.errors.UserError: unknown shape 'sqare'; did you mean square?
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorator that registers an object under `name`; a name can be used once."""

        def enter(thing: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = cast(T, thing)
            return thing

        return enter

    def replace(self, name: str, thing: T) -> None:
        """Register or overwrite; for a user's own file, which may be loaded twice."""
        self._entries[name] = thing

    @contextmanager
    def lent(self, name: str, thing: T) -> Iterator[None]:
        """Within the context, `name` is an entry; afterwards all is as before."""
        before = dict(self._entries)
        self._entries[name] = thing
        try:
            yield
        finally:
            self._entries = before

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise unknown(self.kind, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that their registrations take effect.

    This way, adding a cell, task, optimizer or penalty only takes a new file.

    Args:
        package: name of the package.
        path: ``__path__`` of the package.
    """
    for module in pkgutil.iter_modules(path):
        if not module.ispkg:
            importlib.import_module(f"{package}.{module.name}")
