"""The engines of a recurrence: ways to the same states and the same gradient.

``scan``: a loop forward, and the explicit reverse scan as its gradient.

``plain``: autodiff of `lax.scan`; also for forward mode, and the reference of all.

``associative``: all steps at once (`rnnjax.recurrence.associative`), for a step that is
linear unit by unit. On two cores a training step of an LRU takes 1.05 to 2.1 times that
of `scan`, for T from 100 to 100 000 and down to one example of four units
(`python -m scripts.bench engines`), so that nothing chooses it by itself.

``newton``: all steps of any recurrence at once (`rnnjax.recurrence.newton`); the loop
where that does not converge. Under `vmap` both are computed. On two cores 6 to 40 times
as slow as `scan`, with 5 or 6 iterations (Elman, 4 and 16 units, T to 10 000).

To add an engine, write a class with the method of `Engine` and enter it in `ENGINES`.
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
    """A way to the states of a recurrence, and to their gradient."""

    def trajectory(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive, taps: Taps
    ) -> Trajectory:
        """The states after every step ``(T, B, n)``, differentiated as the engine does.

        Raises:
            UserError: the cell does not fit the engine.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a layer says to its engine; each takes what concerns it.

    Attributes:
        renormalised: the adjoint keeps its norm from step to step; `scan` only.
        newton: tolerance and largest number of iterations of `newton`.
    """

    renormalised: bool = False
    newton: Newton = Newton()


ENGINES: Registry[Callable[[Settings], Engine]] = Registry("engine")
"""Engines by name."""


@ENGINES.register("scan")
@dataclasses.dataclass(frozen=True)
class ScanEngine:
    """The loop, and the reverse scan."""

    settings: Settings

    def trajectory(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive, taps: Taps
    ) -> Trajectory:
        """The states after every step ``(T, B, n)``."""
        return scan(cell, weights, initial, drive, taps, self.settings.renormalised)


@ENGINES.register("plain")
@dataclasses.dataclass(frozen=True)
class PlainEngine:
    """The loop, and autodiff."""

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
