"""Why a network does not learn, forecast from the start, and what would rescue it.

With the budget of examples, batch × updates, a failing cell is

- *no signal* if N* of the deciding step is beyond the budget or not resolved: even
  alone its signal would not exceed its own noise. Neither a repaired size nor less
  noise from other steps rescues it;
- *drowned* if N* is within the budget and N*_up beyond: restoring the norm of the
  adjoint at every step (`renormalise`) rescues, the same factors at other steps
  (`sham`) do not; a batch that is k times as large, and pairs, rescue if N*_up is
  within k times the budget;
- *start or rate* otherwise: the gradient is not what is missing. None of these rescues,
  but a critical start or another learning rate does.
"""

import dataclasses
from typing import Any, Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool


Cause = Literal["drowned", "no signal", "start or rate"]

CAUSES: tuple[Cause, ...] = ("drowned", "no signal", "start or rate")

ARMS = ("renormalise", "sham", "pairs", "batch", "critical", "slow", "fast")
"""What is changed in a failing run. `critical`: a start at which the gradient neither
vanishes nor explodes; `slow`, `fast`: a third and three times the learning rate."""

NOISE = ("pairs", "batch")
"""The arms that change the noise of the update."""

RATE = ("critical", "slow", "fast")

RESOLVED = 2.0
"""Standard errors by which the signal of the deciding step has to exceed zero."""

Place = tuple[int, int, int]
"""Places of start, task and length in the settings."""


def failing(
    solved: Bool[np.ndarray, "start task reach seed"],
) -> Bool[np.ndarray, "start task reach"]:
    """The cells in which fewer than half of the seeds solve the task."""
    return solved.mean(axis=-1) < 0.5


def chosen(fails: Bool[np.ndarray, "start task reach"], most: int) -> list[Place]:
    """At most so many failing cells, evenly spaced in the order start, task, length.

    >>> few = np.array([[[False, True, True], [True, True, False]]])
    >>> chosen(few, 3)
    [(0, 0, 1), (0, 1, 0), (0, 1, 1)]
    """
    known = [tuple(map(int, place)) for place in np.argwhere(fails)]
    if len(known) <= most:
        return known  # type: ignore[return-value]
    places = np.linspace(0, len(known) - 1, most).round().astype(int)
    return [known[k] for k in places]  # type: ignore[misc]


def cause(own: float, update: float, resolution: float, budget: float) -> Cause:
    """The forecast cause of a failure.

    Args:
        own, update: log10 of N* and of N*_up at the start.
        resolution: ‖E S‖² of the deciding step over its standard error.
        budget: log10 of batch × updates.

    >>> cause(3.0, 7.0, 9.0, 5.0), cause(3.0, 4.0, 9.0, 5.0), cause(3.0, 7.0, 1.0, 5.0)
    ('drowned', 'start or rate', 'no signal')
    """
    if not (own <= budget and resolution >= RESOLVED):
        return "no signal"
    return "drowned" if update > budget else "start or rate"


def is_rescue(arm: str, why: Cause, update: float, budget: float, times: float) -> bool:
    """Whether an arm other than those in `RATE` is forecast to rescue a cell.

    Args:
        arm: the arm.
        why: the forecast cause.
        update, budget: see `cause`.
        times: batch of the arm `batch` over that of the failing runs.
    """
    if why != "drowned":
        return False
    if arm in NOISE:
        return bool(update <= budget + np.log10(times))
    return arm == "renormalise"


@dataclasses.dataclass(frozen=True)
class Trial:
    """A failing cell, its forecast, and what its arms came to.

    Attributes:
        name: start, task and length.
        numbers: medians over the seeds at the start, by name in `MEASURED`.
        why: the forecast cause.
        failed: number of the seeds with arms that failed: those that can be rescued.
        rescued: of them, those that each arm rescued.
        forecast: whether an arm is forecast to rescue; `RATE` has no forecast of its
            own.
        fails: whether the cell is a failing one; the named first one may not be.
    """

    name: str
    numbers: dict[str, float]
    why: Cause
    failed: int
    rescued: dict[str, int]
    forecast: dict[str, bool]
    fails: bool

    def share(self, arm: str) -> float:
        """Share of the failed seeds that an arm rescued."""
        return self.rescued[arm] / max(self.failed, 1)

    def is_right(self, arm: str) -> bool:
        """Whether the forecast of an arm came true for at least half of the seeds."""
        return (self.share(arm) >= 0.5) == self.forecast[arm]

    @property
    def right(self) -> bool:
        """Whether all that is forecast of the cell came true."""
        found = all(map(self.is_right, self.forecast))
        if self.why == "start or rate":
            found &= any(self.share(arm) >= 0.5 for arm in RATE if arm in self.rescued)
        return found


def trials(results: xr.Dataset) -> list[Trial]:
    """All cells with arms, the named one first; see `experiments/retrial.py`."""
    batch, times = results.attrs["batch"], results.attrs["times"]
    budget = float(np.log10(results.attrs["budget"] * batch))
    arms = [str(arm) for arm in results.arm.to_numpy()]
    made = []
    for cell in range(results.sizes["cell"]):
        where: Any = {
            axis: int(results.place[cell, k])
            for k, axis in enumerate(("start", "task", "reach"))
        }
        solved = np.isfinite(results.updates.isel(where).to_numpy())
        rescue = np.isfinite(results.retried.isel(cell=cell).to_numpy())
        base = solved[: rescue.shape[1]]
        numbers = _medians(results.measured.isel(where).sel(moment="start"))
        why = cause(numbers["own"], numbers["update"], numbers["resolution"], budget)
        length = int(results.length.isel(task=where["task"], reach=where["reach"]))
        start = str(results.start.to_numpy()[where["start"]])
        task = str(results.task.to_numpy()[where["task"]]).replace("_", " ")
        made.append(
            Trial(
                name=f"{task} {length}, {start}",
                numbers=numbers,
                why=why,
                failed=int((~base).sum()),
                rescued={
                    arm: int((rescue[k] & ~base).sum()) for k, arm in enumerate(arms)
                },
                forecast={
                    arm: is_rescue(arm, why, numbers["update"], budget, times)
                    for arm in arms
                    if arm not in RATE
                },
                fails=bool(solved.mean() < 0.5),
            )
        )
    return made


def _medians(measured: xr.DataArray) -> dict[str, float]:
    """Medians over the seeds; infinite where that of half of the seeds is."""
    with np.errstate(invalid="ignore"):
        found = np.median(measured.transpose("quantity", "seed"), axis=1)
    names = measured.quantity.to_numpy()
    return {str(name): float(x) for name, x in zip(names, found, strict=True)}
