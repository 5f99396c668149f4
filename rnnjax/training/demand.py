"""The least memory a run needs, from shapes only; nothing is compiled or allocated.

All numbers are lower bounds on what is certainly held at one time: at the last update
of a run that makes all its updates. A run that stops or diverges early needs less; a
run that may stop early because the task is solved counts as one that stops at once.
"""

import dataclasses
import math

import jax

from rnnjax.recurrence.remat import Remat
from rnnjax.tasks.base import Split
from rnnjax.training.build import build_task
from rnnjax.training.config import ModelConfig, RunConfig
from rnnjax.training.history import COLUMNS
from rnnjax.training.program import Signature
from rnnjax.training.schedule import schedule_of
from rnnjax.training.sizes import bytes_of, param_bytes, state_bytes
from rnnjax.types import Batch


ROW = 8 * (1 + len(COLUMNS))
"""Bytes of one row of the metrics of one run: the step and its columns."""

ROW_OBJECTS = 500
"""Bytes of the Python objects around a row, counted once for all runs of a pack."""

FILES = 10_000
"""Bytes of a run's files without any parameters: configuration, manifest, Hydra's
files, and metrics with two rows."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that occupies memory.

    Attributes:
        what: description in words.
        bytes: lower bound on its size.
        keys: the configuration keys that make it large, as ``key=value``.
        host: whether it is always in host memory, whatever the devices are.
    """

    what: str
    bytes: int
    keys: tuple[str, ...]
    host: bool = False


@dataclasses.dataclass(frozen=True)
class Demand:
    """The sizes of a run.

    Attributes:
        config: configuration of the run.
        params: bytes of one copy of its parameters.
        state: bytes of its parameters and the state of its optimizer.
        carried: bytes of the states of all layers at one time step of one example.
        length: number of time steps T.
        evaluated: bytes of the validation and the test examples.
        probe: bytes of the probe batch.
        probed: number of examples in the probe batch.
    """

    config: RunConfig
    params: int
    state: int
    carried: int
    length: int
    evaluated: int
    probe: int
    probed: int

    def training(self, runs: int = 1) -> list[Part]:
        """The memory of a pack of such runs at its last update."""
        config, sizes = self.config, self._sizes
        # shards may be computed one after the other
        trained = self._over_time(config.batch // config.shards, config.model.remat)
        rows = self._rows * (runs * ROW + ROW_OBJECTS)
        batch = f"batch={config.batch}"
        return [
            # before and after an update, and one gradient
            Part(
                "parameters, optimizer state and gradient",
                2 * runs * self.state + self.params,
                sizes,
            ),
            Part("the best parameters", runs * self.params, sizes, True),
            Part("states over time", trained, (self._longest, batch, *sizes)),
            Part(
                "held-out examples",
                self.evaluated,
                (f"eval.size={config.eval.size}", self._longest),
            ),
            Part("probed examples", self.probe, (self._probe_batch, self._longest)),
            Part("rows of the metrics", rows, self._row_keys, True),
            Part(
                "measurements",
                runs * self._probes * self._measured,
                self._probe_keys,
                True,
            ),
        ]

    def looking(self, points: int = 1) -> list[Part]:
        """The memory for measuring `points` untrained networks one after the other."""
        looked = self._over_time(self.probed, None)
        return [
            Part("parameters", self.params, self._sizes),
            Part(
                "states over time",
                looked,
                (self._longest, self._probe_batch, *self._sizes),
            ),
            Part("probed examples", self.probe, (self._probe_batch, self._longest)),
            Part("norms by lag", self.looked(points), (self._longest,), True),
        ]

    def looked(self, points: int) -> int:
        """Bytes of the norms by lag of `points` networks."""
        return 4 * points * self.length * self._walks

    def stored(self, keep: bool) -> list[Part]:
        """The files of a finished run.

        Args:
            keep: whether its state is kept (`checkpoint.keep`).
        """
        probe, kept = self.config.probe, "checkpoint.keep=true"
        found = [
            Part("small files", FILES, ("runs",)),
            Part("parameters", self.params, self._sizes),
        ]
        if probe.preset == "full" and probe.keep_params:
            seen = (self._probes + 1) * self.params
            keys = (*self._probe_keys, "probe.keep_params=true")
            found.append(Part("parameters at each probe", seen, keys))
        if keep and not self._may_stop:
            rows, seen = self._rows * ROW, self._probes * self._measured
            state = self.state + self.params
            found += [
                Part("the state to resume from", state, (kept, *self._sizes)),
                Part("rows of the metrics", rows, (kept, *self._row_keys)),
                Part("measurements", seen, (kept, *self._probe_keys)),
            ]
        return found

    def _over_time(self, examples: int, remat: Remat | None) -> int:
        """Bytes of the states of all time steps, or of those kept if `remat` is set."""
        steps = self.length
        if remat is not None:
            size = min(steps, round(math.sqrt(steps)) if remat == "sqrt" else remat)
            steps = min(steps, steps // size + size)
        return self.carried * steps * examples

    @property
    def _rows(self) -> int:
        return 1 if self._may_stop else schedule_of(self.config).rows

    @property
    def _probes(self) -> int:
        """Number of measurements kept in addition to the last one."""
        probes = len(schedule_of(self.config).probes)
        return min(probes, 1) if self._may_stop else max(probes - 1, 0)

    @property
    def _measured(self) -> int:
        """Bytes of one measurement together with the measured parameters."""
        if self.config.probe.preset == "light":
            return 4 * self.length * self._walks
        # three norms per layer, time step and example, at least float32
        return self.params + 3 * 4 * self.length * self.probed * self._walks

    @property
    def _may_stop(self) -> bool:
        return self.config.eval.stop_when_solved

    @property
    def _walks(self) -> int:
        model = self.config.model
        return model.layers * (1 + model.bidirectional)

    @property
    def _sizes(self) -> tuple[str, ...]:
        """The model sizes that are larger than their defaults; all if none are."""
        model, default = self.config.model, ModelConfig()
        names = "hidden", "layers", "embedding"
        larger = [n for n in names if getattr(model, n) > getattr(default, n)]
        return tuple(f"model.{n}={getattr(model, n)}" for n in larger or names)

    @property
    def _longest(self) -> str:
        """The task's key that makes its sequences long, or T itself."""
        near = [
            (value, f"task.{name}={value}")
            for name, value in self.config.task_options
            if isinstance(value, int) and self.length <= 2 * value <= 2 * self.length
        ]
        return max(near)[1] if near else f"T = {self.length} time steps"

    @property
    def _probe_batch(self) -> str:
        return f"probe.batch={self.config.probe.batch}"

    @property
    def _row_keys(self) -> tuple[str, ...]:
        config = self.config
        every = f"log_every={config.log_every}", f"eval.every={config.eval.every}"
        return (f"steps={config.steps}", *every)

    @property
    def _probe_keys(self) -> tuple[str, ...]:
        steps = f"probe.steps: {len(self.config.probe_steps):,} of them"
        return (steps, self._probe_batch, self._longest, *self._sizes)


def demand_of(config: RunConfig, signature: Signature) -> Demand:
    """The sizes of a run; reads its data if that has not been done yet."""
    task, data = build_task(config.task, config.task_options)

    def heldout(split: Split, size: int) -> Batch | None:
        try:
            return jax.eval_shape(lambda d: task.heldout(split, size, d), dict(data))
        except Exception:  # raised by a user's task; the run itself reports it
            return None

    size = config.eval.size
    probe = heldout("validation", config.probe.batch)
    cell, model = signature.model.cell, config.model
    state = jax.eval_shape(lambda: cell.initial_state((1,)))
    return Demand(
        config=config,
        params=param_bytes(signature),
        state=state_bytes(signature),
        carried=model.layers * (1 + model.bidirectional) * bytes_of(state),
        length=signature.spec.length,
        evaluated=bytes_of([heldout("validation", size), heldout("test", size)]),
        probe=bytes_of(probe),
        probed=0 if probe is None else probe.lengths.shape[0],
    )
