"""When the host records metrics, evaluates and probes a run."""

import bisect
import dataclasses
import functools
import math

from rnnjax.training.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The steps at which the host intervenes; shared by all runs of a pack.

    Rows and evaluations are given by rules, not listed: a run may have 10⁹ of them.

    Attributes:
        steps: last step.
        log_every: updates per row of the metrics.
        eval_every: updates between two evaluations.
        probes: steps at which to probe.
    """

    steps: int
    log_every: int
    eval_every: int
    probes: frozenset[int]

    def evaluates(self, step: int) -> bool:
        """Whether to evaluate at a step; always true at the last step."""
        return (
            step == self.steps or 0 < step < self.steps and not (step % self.eval_every)
        )

    def closes_row(self, step: int) -> bool:
        """Whether a row of the metrics ends at a step; every evaluation ends one."""
        logged = 0 < step <= self.steps and not step % self.log_every
        return step > 0 and (logged or self.evaluates(step))

    @property
    def rows(self) -> int:
        """Number of rows of the metrics."""
        a, b = self.log_every, self.eval_every
        regular = self.steps // a + self.steps // b - self.steps // math.lcm(a, b)
        return regular + (self.steps > 0 and bool(self.steps % a and self.steps % b))

    @property
    def evaluations(self) -> int:
        """Number of evaluations."""
        return self.steps // self.eval_every + (
            self.steps == 0 or self.steps % self.eval_every > 0
        )

    def next_stop(self, step: int) -> int:
        """The next step after `step` at which the host intervenes."""
        regular = [step - step % n + n for n in (self.log_every, self.eval_every)]
        place = bisect.bisect_right(self._probes, step)
        return min(*regular, *self._probes[place : place + 1], self.steps)

    @functools.cached_property
    def _probes(self) -> list[int]:
        return sorted(self.probes)


def schedule_of(config: RunConfig) -> Schedule:
    """The schedule of a run; the rows do not depend on its probes."""
    steps = config.steps
    probes = frozenset(config.probe_steps)
    if config.probe.preset == "light":
        # norms are computed in the backward pass of the following update
        probes = frozenset(min(s + 1, steps) for s in probes) - {0}
    return Schedule(steps, config.log_every, config.eval.every, probes)
