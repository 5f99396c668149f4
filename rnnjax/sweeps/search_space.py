"""The space of a search, which is its keys with their values, and its method."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from hydra.core.override_parser.types import IntervalSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)

from rnnjax.checks import check_range
from rnnjax.errors import UserError
from rnnjax.sweeps.axes import finite, parse_axes, read
from rnnjax.sweeps.grid import ZIP, Axes, max_jobs, size
from rnnjax.sweeps.hydra_session import session


Method = Literal["random", "grid", "tpe", "halving"]


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """How trials are chosen.

    Attributes:
        method: ``random`` points; all points of a ``grid``; optuna's ``tpe``, one pack
            at a time; or ``halving`` (successive halving, Jamieson & Talwalkar 2016):
            random points, of which only the better ones are trained further.
        trials: number of trials; ignored by ``grid``.
        points: ``grid``: values per interval, in equal ratios on a log scale.
        factor: ``halving``: each round keeps 1 in `factor` trials.
        rounds: ``halving``: number of rounds; the last one trains for all steps.
        objective: the result of a run that is optimized; by default that of the task's
            metric, such as ``best_validation_accuracy``.
        sampler_seed: seed for the choice of trials.
    """

    method: Method = "random"
    trials: int = 32
    points: int = 5
    factor: int = 3
    rounds: int = 3
    objective: str | None = None
    sampler_seed: int = 0

    def __post_init__(self) -> None:
        check_range("trials", self.trials, 1)
        check_range("points", self.points, 2)
        check_range("factor", self.factor, 2)
        check_range("rounds", self.rounds, 1)


@dataclasses.dataclass(frozen=True)
class Space:
    """The searched keys, with intervals or lists of values, and the fixed overrides."""

    intervals: Mapping[str, FloatDistribution]
    lists: Axes
    fixed: tuple[str, ...]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Distributions for optuna; a list is given by the indices of its values."""
        found: dict[str, BaseDistribution] = {**self.intervals}
        for key, values in self.lists.items():
            found[key] = CategoricalDistribution(range(len(values)))
        return found

    def trials(self, config: SearchConfig) -> int:
        """The number of trials in a search."""
        if config.method != "grid":
            return config.trials
        return size(self.lists) * config.points ** len(self.intervals)

    def grid(self, points: int) -> dict[str, list[Any]]:
        """The grid values of each key; for a list, the indices of its values."""
        found: dict[str, list[Any]] = {}
        for key, one in self.intervals.items():
            spread = np.geomspace if one.log else np.linspace
            # exact ends, since rounding could put them outside of the interval
            inner = spread(one.low, one.high, points)[1:-1].tolist()
            found[key] = [one.low, *inner, one.high]
        return found | {k: [*range(len(values))] for k, values in self.lists.items()}

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values that a trial sets, by key."""
        return {
            key: self.lists[key][value] if key in self.lists else value
            for key, value in params.items()
        }


def space_of(overrides: Sequence[str], config_dir: str | None) -> Space:
    """The space defined by overrides; probes are off unless requested.

    Raises:
        UserError: there is nothing to search, or an override is invalid.
    """
    if any(text.startswith(f"{ZIP}=") for text in overrides):
        raise UserError(
            "search does not support zip; list the values of each key separately, "
            "as in cell=lstm,gru lr=1e-3,3e-3"
        )
    intervals: dict[str, FloatDistribution] = {}
    rest = []
    with session(config_dir) as hydra:
        for text in overrides:
            override = read(text, hydra)
            sweep = override.value()
            if isinstance(sweep, IntervalSweep):
                intervals[override.key_or_group] = _interval(sweep, text)
            else:
                rest.append(text)
        axes = parse_axes(rest, hydra, max_jobs(rest))
    lists = {
        key: values
        for key, values in axes.items()
        if len(values) > 1 and key != "seed" and key not in intervals
    }
    if not intervals and not lists:
        raise UserError(
            "nothing to search: give a key several values, or an interval, "
            "'lr=tag(log,interval(1e-4,1e-1))'"
        )
    searched = {*lists, *intervals}
    fixed = tuple(text for text in rest if text.partition("=")[0] not in searched)
    if not any(key == "probe" or key.startswith("probe.") for key in axes):
        fixed = ("probe=off", *fixed)
    return Space(intervals, lists, fixed)


def _interval(sweep: IntervalSweep, text: str) -> FloatDistribution:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or not finite(low, high):
        raise UserError(f"'{text}' is not an interval with finite ends")
    if not low < high or (log and low <= 0):
        raise UserError(
            f"'{text}' is not a valid interval: it needs low < high, and with log also "
            "low > 0"
        )
    return FloatDistribution(float(low), float(high), log=log)
