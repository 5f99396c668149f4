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
"""

from typing import Any, Literal

from rnnjax.cells.base import Cell
from rnnjax.recurrence.associative import Associative, check_linear
from rnnjax.recurrence.engine import Taps, plain_scan, scan
from rnnjax.recurrence.newton import Newton
from rnnjax.recurrence.parallel import Method, parallel_scan
from rnnjax.recurrence.pure import Weights
from rnnjax.recurrence.reverse import Drive, first
from rnnjax.types import State, Trajectory


Engine = Literal["scan", "plain", "associative", "newton"]


def trajectory(
    engine: Engine,
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    taps: Taps,
    renormalised: bool,
    newton: Newton,
) -> Trajectory:
    """The states after every step ``(T, B, n)``, differentiated as the engine does.

    Raises:
        UserError: the cell does not fit the engine.
    """

    def solved(method: Method) -> Trajectory:
        found: Any = parallel_scan(cell, method, weights, initial, drive, taps)
        return found[0]

    if engine == "plain":
        return plain_scan(cell, weights, initial, drive, taps)
    if engine == "associative":
        check_linear(cell, weights, initial, first(drive.values))
        return solved(Associative())
    if engine == "newton":
        return solved(newton)
    return scan(cell, weights, initial, drive, taps, renormalised)
