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
from typing import Any

from rnnjax.cells.base import Cell
from rnnjax.recurrence.associative import Associative, check_linear
from rnnjax.recurrence.backprop_rules import Backprop
from rnnjax.recurrence.functional import Weights
from rnnjax.recurrence.newton import Newton
from rnnjax.recurrence.parallel import parallel_scan
from rnnjax.recurrence.scan import Taps, plain_scan, scan
from rnnjax.recurrence.step import Drive, first
from rnnjax.registry import Registry
from rnnjax.types import State, Trajectory


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options that a layer passes to its engine, which ignores those of other engines.

    Attributes:
        backprop: the rule of `backprop_rules`; `scan` only.
        newton: tolerance and maximum number of iterations of `newton`.
    """

    backprop: Backprop = "exact"
    newton: Newton = Newton()


Engine = Callable[[Settings, Cell, Weights, State, Drive, Taps], Trajectory]
"""Settings, cell, weights, initial state, drive and taps → the states after every step
``(T, B, n)``, with the engine's own gradient. Raises a `UserError` if the engine does
not support the cell."""

ENGINES: Registry[Engine] = Registry("engine")
"""Engines by name."""


@ENGINES.register("scan")
def by_scan(
    settings: Settings,
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    taps: Taps,
) -> Trajectory:
    """The forward loop and the reverse scan."""
    return scan(cell, weights, initial, drive, taps, settings.backprop)


@ENGINES.register("plain")
def by_autodiff(settings: Settings, *inputs: Any) -> Trajectory:
    """The forward loop and autodiff."""
    return plain_scan(*inputs)


@ENGINES.register("associative")
def by_associative_scan(
    settings: Settings,
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    taps: Taps,
) -> Trajectory:
    """All steps of a linear recurrence at once."""
    check_linear(cell, weights, initial, first(drive.values))
    inputs = weights, initial, drive, taps
    solution: Any = parallel_scan(cell, Associative(), *inputs)
    return solution[0]


@ENGINES.register("newton")
def by_newton(settings: Settings, cell: Cell, *inputs: Any) -> Trajectory:
    """All steps of any recurrence at once."""
    solution: Any = parallel_scan(cell, settings.newton, *inputs)
    return solution[0]
