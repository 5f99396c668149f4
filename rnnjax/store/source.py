"""A digest of the code that determines the numbers of a run.

It covers the modules that the computation of this run imports, so that an edit to one
cell does not affect runs of other cells, and ignores prose
(`rnnjax.store.source_facts`). `rnnjax.sweeps.jobs.Job.source` says which modules it
starts from. Compiled programs are looked up by such digests, too (`traced_modules`).
"""

import hashlib
from collections.abc import Callable, Container, Iterable, Mapping
from functools import cache
from pathlib import Path

from rnnjax.paths import PACKAGE_FOLDER
from rnnjax.store.source_facts import facts_of


PACKAGE = "rnnjax"

NUMERIC = frozenset(
    "activations cells checks choice clipping initializers models penalties probes "
    "recurrence registry tasks training types xla_options".split()
)
"""Modules and packages in `PACKAGE` that affect numbers; others are not followed."""

UNTRACED = frozenset(
    "cli counting devices errors executables interrupts loaded paths quantities report "
    "reproduce results store sweeps terminal user_code".split()
)
"""Modules and packages in `PACKAGE` with nothing that a compiled program is made of."""

CATALOGUES = frozenset(
    f"rnnjax.{name}"
    for name in "cells penalties probes tasks training.optimizers".split()
)
"""Packages whose ``__init__`` imports modules only to collect their names."""

DIGITS = 12


def source_digest(roots: Iterable[str], folder: Path | None = None) -> str:
    """Digest of some modules and of all numeric modules that they import.

    A run whose manifest has a different digest was computed by different code: it is
    shown as stale and never silently reused.

    Args:
        roots: names of numeric modules, such as ``rnnjax.cells.gru``; any other name is
            ignored.
        folder: the package folder; by default that of the imported package.

    Returns:
        12 hexadecimal digits, the same under Python 3.11 and 3.12.

    Raises:
        UserError: a file has changed since this process imported rnnjax.
    """
    return _digest(frozenset(roots), folder or PACKAGE_FOLDER)


@cache
def _digest(roots: frozenset[str], folder: Path) -> str:
    return digest_of(numeric_modules(roots, folder))[:DIGITS]


def digest_of(modules: Mapping[str, Path]) -> str:
    """SHA-256 of modules by name and file, from their syntax trees without prose."""
    total = hashlib.sha256()
    for name, file in sorted(modules.items()):
        total.update(f"{name} {facts_of(file).digest}\n".encode())
    return total.hexdigest()


@cache
def traced_modules(roots: frozenset[str]) -> Mapping[str, Path]:
    """The modules that a program is traced from: `roots`, and all that they import.

    Unlike for the numbers of a run, everything counts that is not in `UNTRACED`, so
    that what is new counts.
    """
    folder = PACKAGE_FOLDER

    def counts(name: str) -> bool:
        return name in roots or _is_in(name, UNTRACED) is False

    return _followed(roots, folder, counts)


def numeric_modules(roots: Iterable[str], folder: Path) -> dict[str, Path]:
    """The numeric modules among `roots`, and all that they import, with their files."""
    return _followed(roots, folder, lambda name: _is_in(name, NUMERIC) is True)


def _followed(
    roots: Iterable[str], folder: Path, counts: Callable[[str], bool]
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in CATALOGUES or not counts(name):
            continue
        package, _, entry = name.rpartition(".")
        if package in CATALOGUES and (catalogue := _file(package, folder)) is not None:
            name = facts_of(catalogue).names.get(entry, name)
        file = _file(name, folder)
        # without a file it is a function or class; its module is in `waiting` as well
        if name not in found and file is not None:
            found[name] = file
            waiting += facts_of(file).imports
    return found


def _is_in(name: str, parts: Container[str]) -> bool | None:
    """Whether a module is in one of these parts of `PACKAGE`; None: it is elsewhere."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] in parts if package == PACKAGE and rest else None


def _file(name: str, folder: Path) -> Path | None:
    path = folder.joinpath(*name.split(".")[1:])
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
