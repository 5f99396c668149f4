"""When a run is looked at: rows of the metrics, evaluations, probes."""

import dataclasses

from rnnjax.training.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The steps at which the host takes part; runs of one pack share it.

    Attributes:
        steps: last step.
        rows: steps that close a row of the metrics.
        evaluations: steps of held-out evaluation, the last one included.
        probes: steps of a probe.
    """

    steps: int
    rows: frozenset[int]
    evaluations: frozenset[int]
    probes: frozenset[int]

    def next_stop(self, step: int) -> int:
        """The next step after `step` at which the host looks."""
        later = (self.rows | self.evaluations | self.probes | {self.steps}) - {0}
        return min((s for s in later if s > step), default=self.steps)


def schedule_of(config: RunConfig) -> Schedule:
    """The schedule of a run; the rows do not depend on its probes."""
    steps = config.steps
    evaluations = frozenset(range(config.eval.every, steps + 1, config.eval.every))
    evaluations |= {steps}
    rows = frozenset(range(config.log_every, steps + 1, config.log_every))
    probes = frozenset(config.probe_steps)
    if config.probe.preset == "light":
        # norms come with the backward pass of the update that follows
        probes = frozenset(min(s + 1, steps) for s in probes) - {0}
    return Schedule(steps, rows | evaluations - {0}, evaluations, probes)
