"""The engines of a recurrence: ways to compute the same states and the same gradient.

``scan``: a forward loop, with the explicit reverse scan as its gradient.

``plain``: autodiff of `lax.scan`; supports forward mode, and is the reference for all
other engines.

``associative``: all steps at once (`rnnjax.recurrence.associative`), for a step that is
linear in each unit separately. On two cores a training step of an LRU takes 1.05 to 2.1
times as long as with `scan`, for T from 100 to 100 000 and down to one example of four
units (`python -m scripts.bench engines`), so it is never chosen automatically.

``newton``: all steps of any recurrence at once (`rnnjax.recurrence.newton`), or the
loop if that does not converge. Under `vmap` both are computed. On two cores it is 6 to
40 times as slow as `scan`, with 5 or 6 iterations (Elman, 4 and 16 units, T up to
10 000).

To add an engine, write a class with the method of `Engine` and register it in
`ENGINES`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from rnnjax.cells.base import Cell
from rnnjax.recurrence.associative import Associative, check_linear
from rnnjax.recurrence.functional import Weights
from rnnjax.recurrence.newton import Newton
from rnnjax.recurrence.parallel import Method, parallel_scan
from rnnjax.recurrence.scan import Taps, plain_scan, scan
from rnnjax.recurrence.step import Drive, first
from rnnjax.registry import Registry
from rnnjax.types import State, Trajectory


class Engine(Protocol):
    """A way to compute the states of a recurrence, and their gradient."""

    def trajectory(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive, taps: Taps
    ) -> Trajectory:
        """The states after every step ``(T, B, n)``, with the engine's own gradient.

        Raises:
            UserError: the engine does not support the cell.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options that a layer passes to its engine, which ignores those of other engines.

    Attributes:
        renormalised: the adjoint keeps its norm from step to step; `scan` only.
        newton: tolerance and maximum number of iterations of `newton`.
    """

    renormalised: bool = False
    newton: Newton = Newton()


ENGINES: Registry[Callable[[Settings], Engine]] = Registry("engine")
"""Engines by name."""


@ENGINES.register("scan")
@dataclasses.dataclass(frozen=True)
class ScanEngine:
    """The forward loop and the reverse scan."""

    settings: Settings

    def trajectory(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive, taps: Taps
    ) -> Trajectory:
        """The states after every step ``(T, B, n)``."""
        return scan(cell, weights, initial, drive, taps, self.settings.renormalised)


@ENGINES.register("plain")
@dataclasses.dataclass(frozen=True)
class PlainEngine:
    """The forward loop and autodiff."""

    settings: Settings

    def trajectory(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive, taps: Taps
    ) -> Trajectory:
        """The states after every step ``(T, B, n)``."""
        return plain_scan(cell, weights, initial, drive, taps)


@ENGINES.register("associative")
@dataclasses.dataclass(frozen=True)
class AssociativeEngine:
    """All steps of a linear recurrence at once."""

    settings: Settings

    def trajectory(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive, taps: Taps
    ) -> Trajectory:
        """The states after every step ``(T, B, n)``, of a linear step."""
        check_linear(cell, weights, initial, first(drive.values))
        return _solved(Associative(), cell, weights, initial, drive, taps)


@ENGINES.register("newton")
@dataclasses.dataclass(frozen=True)
class NewtonEngine:
    """All steps of any recurrence at once."""

    settings: Settings

    def trajectory(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive, taps: Taps
    ) -> Trajectory:
        """The states after every step ``(T, B, n)``."""
        return _solved(self.settings.newton, cell, weights, initial, drive, taps)


def _solved(method: Method, *inputs: Any) -> Trajectory:
    solution: Any = parallel_scan(inputs[0], method, *inputs[1:])
    return solution[0]
