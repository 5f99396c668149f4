"""The host side of training: drive a pack along its schedule and record results."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.serialization import from_state_dict, to_state_dict

from rnnjax import interrupts
from rnnjax.tasks.base import Split
from rnnjax.training.best import Best
from rnnjax.training.build import build_hyper, build_task, heldout, initial_params
from rnnjax.training.compiled import Compiled
from rnnjax.training.config import RunConfig
from rnnjax.training.evaluation import judge
from rnnjax.training.history import History, Outcome, outcomes
from rnnjax.training.pack import Pack
from rnnjax.training.resume_state import ResumeState
from rnnjax.training.saving import Saving
from rnnjax.training.schedule import Schedule, schedule_of
from rnnjax.training.state import TrainState, Until, structure_of_measurement, until
from rnnjax.types import Batch


FIRST_STRIDE, STRIDE_SECONDS = 64, 0.5
"""Number of updates in the first call of the compiled program, and the target for the
longest time of a call. Between calls the pack can be saved and an interrupt handled.
Where the loop over updates is split into calls does not change a single bit."""

Progress = Callable[[int, int], None]
"""Called with (updates made or skipped since the last call, runs that ended since)."""


class PackTraining:
    """Trains one pack from its initial parameters, or last checkpoint, to its outcomes.

    Args:
        compiled: the program of the runs' common signature.
        configs: the runs; their signatures and schedules must be equal.
        saving: where and how often to save checkpoints, or None.
        continued: final states of shorter runs of the same configurations, all at the
            same step, from which to resume; a checkpoint takes precedence.
    """

    def __init__(
        self,
        compiled: Compiled,
        configs: Sequence[RunConfig],
        saving: Saving | None = None,
        continued: Sequence[ResumeState] = (),
    ) -> None:
        self.compiled, self.configs, self.saving = compiled, list(configs), saving
        self.schedule: Schedule = schedule_of(self.configs[0])
        self.pack = Pack(compiled.mesh, len(self.configs), compiled.capacity)
        first = self.configs[0]
        _, data = build_task(first.task, first.task_options)
        self.data = self.pack.share(jax.tree.map(np.asarray, dict(data)))
        self.validation = self._heldout("validation", first.eval.size)
        self.test = self._heldout("test", first.eval.size)
        self.probe_batch = self._heldout("validation", first.probe.batch)
        spec = compiled.signature.spec
        self.judges = judge(spec, self.validation), judge(spec, self.test)
        self.hyper = self.pack.stack([build_hyper(c) for c in self.configs])
        self.history = History(len(self.configs))
        self.at, self.start, self.looked = 0, 0, False
        self.state = self._first_state(continued)

    def _heldout(self, split: Split, size: int) -> Batch:
        first = self.configs[0]
        return self.pack.share(heldout(first.task, first.task_options, split, size))

    def _first_state(self, continued: Sequence[ResumeState]) -> TrainState:
        """The state of the last checkpoint, of the shorter runs, or at initialisation.

        The first of these that exists is used.
        """
        program = self.compiled.program
        runs = [(initial_params(c), build_hyper(c)) for c in self.configs]
        ride = program.empty_ride(*runs[0], self.data)
        starts = [program.start(*run, ride) for run in runs]
        state = self.pack.stack(starts)
        self.best = Best(self.pack.gather(state.params), self.compiled.signature.spec)
        if self.saving is not None:
            # Saved by run, as slots and devices may differ when a pack is resumed.
            template = {"train": self.pack.gather(state), "best": self.best.tree()}
            restored = self.saving.checkpoint.restore(template)
            if restored is not None:
                # A save at the last step precedes `_look` there, see `_run`.
                self.at, self.start = restored.tag, restored.start
                self.looked = self.at < self.schedule.steps
                self.history = History.resumed(len(self.configs), restored.parts)
                self.best.restore(restored.state["best"])
                return self.pack.stack(self.pack.split(restored.state["train"]))
        if continued:
            self.at = self.start = continued[0].step
            self.history = History.continued(continued)
            like = self.best.of(0)
            ends = [from_state_dict(like, dict(run.best)) for run in continued]
            self.best.restore_runs(ends)
            pairs = zip(starts, continued, strict=True)
            state = self.pack.stack([from_state_dict(s, c.state) for s, c in pairs])
        return state

    def warm(self) -> None:
        """Compile what the pack will need; may be called from another thread."""
        runs = (self.state, self.hyper, self.pack.stack(self._until(0, 1)))
        pair = (self.state.params, self.hyper)
        needed = [("chunk", runs, self.data), ("evaluate", pair, self.validation)]
        if self.configs[0].probe.preset == "full":
            needed.append(("probe", pair, self.probe_batch))
        self.compiled.prepare_all(self.pack, needed)

    def run(self, progress: Progress | None = None) -> list[Outcome]:
        """Train to the end; one outcome per run, in the order of the configurations.

        If the process is interrupted, the pack is saved as soon as the present call of
        the compiled program ends.

        Raises:
            KeyboardInterrupt: the process was interrupted; the pack has been saved,
                unless there is no `saving`.
        """
        with interrupts.deferred():
            return self._run(progress)

    def _run(self, progress: Progress | None) -> list[Outcome]:
        state, at, began = self.state, self.at, time.perf_counter()
        del self.state  # otherwise the first state would stay in memory throughout
        saved = time.perf_counter()
        kept: dict[int, ResumeState] = {}
        tell = progress or (lambda updates, ended: None)
        tell(int(self._spent(at)), 0)
        if not self.looked:
            if at == self.schedule.steps:
                kept = self._keep(state, at)
            self._look(state, at)
        stride = FIRST_STRIDE
        while at < self.schedule.steps and self.history.active.any():
            stop, start = self.schedule.next_stop(at), time.perf_counter()
            before, active, first = self._spent(at), self.history.active.sum(), at
            at = min(stop, at + stride)
            state = jax.block_until_ready(self.advance(state, first, at))
            pace = (time.perf_counter() - start) / (at - first)
            stride = int(min(2 * stride, max(1, STRIDE_SECONDS / pace)))
            if at == self.schedule.steps:
                # Before `_look`, which adds a row that a longer run may not have.
                self._pause(state, at, saved)
                kept = self._keep(state, at)
            if at == stop:
                self._look(state, at)
            ended = int(active - self.history.active.sum())
            tell(int(self._spent(at) - before), ended)
            if at < self.schedule.steps:
                saved = self._pause(state, at, saved)
        return self._finish(state, kept, began)

    def _spent(self, at: int) -> int:
        """Updates completed by the pack; a run that ended counts as having made all."""
        active = int(self.history.active.sum())
        ended = len(self.configs) - active
        return active * at + ended * self.schedule.steps

    def _pause(self, state: TrainState, at: int, saved: float) -> float:
        """Save if a save is due, and stop if the process was interrupted.

        Args:
            state: state of the pack.
            at: its training step.
            saved: time of the previous save.

        Returns:
            Time of the last save.

        Raises:
            KeyboardInterrupt: the process was interrupted; the pack has been saved,
                unless there is no `saving`.
        """
        if self.saving:
            due = time.perf_counter() - saved >= self.saving.every_seconds
            if due or interrupts.noted():
                self._save(state, at)
                saved = time.perf_counter()
        if interrupts.noted():
            raise KeyboardInterrupt
        return saved

    def _save(self, state: TrainState, at: int) -> None:
        assert self.saving is not None
        saved = {"train": self.pack.gather(state), "best": self.best.tree()}
        parts = self.history.new_parts()
        check = self.saving.check
        self.saving.checkpoint.save(at, saved, parts, self.start, check)

    def _keep(self, state: TrainState, at: int) -> dict[int, ResumeState]:
        """States to resume from, of the runs that made all their updates."""
        going = self.history.active & self.pack.gather(state.alive)
        states = self.pack.unstack(state)
        return {
            i: ResumeState(
                step=at,
                state=to_state_dict(states[i]),
                best=to_state_dict(self.best.of(i)),
                **self.history.of(i, at),
            )
            for i in np.flatnonzero(going).tolist()
        }

    def advance(self, state: TrainState, at: int, stop: int) -> TrainState:
        """Advance all active runs from `at` to `stop`; the others are not changed."""
        runs = (state, self.hyper, self.pack.stack(self._until(at, stop)))
        return self.compiled.chunk(self.pack, runs, self.data)

    def _until(self, at: int, stop: int) -> list[Until]:
        fresh = at == 0 or self.schedule.closes_row(at)
        ride_at = stop - 1 if stop in self.schedule.probes else -1
        return [until(stop, fresh, ride_at, active) for active in self.history.active]

    def _look(self, state: TrainState, at: int) -> None:
        """Read the meters, evaluate and probe, as scheduled for step `at`."""
        active = self.history.active.copy()
        pair = (state.params, self.hyper)
        going = active & self.pack.gather(state.alive)
        scores = None
        if self.schedule.evaluates(at):
            found = self.compiled.evaluate(self.pack, pair, self.validation)
            scores = self.pack.unstack(found)
            metrics = np.array([float(metric) for _, metric, _ in scores])
            self.best.offer(at, metrics, self.pack.gather(state.params), going)
        if self.schedule.closes_row(at):
            meters = self.pack.unstack(state.meter)
            self.history.add_row(at, meters, scores, active)
            # Mark divergence only at a row, so that every run gets its last row even
            # if a probe comes between two rows.
            where = self.pack.gather(state.diverged_at)
            self.history.mark_diverged(active & ~going, where)
        if self.configs[0].eval.stop_when_solved and scores is not None:
            of_validation, _ = self.judges
            solved = np.array(
                [of_validation.is_solved(float(metric)) for _, metric, _ in scores]
            )
            self.history.mark_finished(going & solved, at)
        if at == self.schedule.steps:
            self.history.mark_finished(going, at)
        due = at in self.schedule.probes
        reached = self.pack.gather(state.step)
        if self.configs[0].probe.preset == "light" and due:
            rode = active & (reached >= at - 1)
            found = self.pack.unstack((state.ride, None))
            self.history.add_measurement(at - 1, found, rode)
        elif self.configs[0].probe.preset == "full":
            ended = active & ~self.history.active
            chosen = (going & due) | (ended & self.history.lacks_measurement(reached))
            self._measure(pair, reached, chosen)

    def _measure(self, pair: Any, reached: np.ndarray, chosen: np.ndarray) -> None:
        """Probe the chosen runs, each at the training step that it has reached."""
        if not chosen.any():
            return
        seen = self.compiled.probe(self.pack, pair, self.probe_batch)
        # keep the parameters too, so that a later analysis can measure again
        found = self.pack.unstack((seen, pair[0]))
        for step in np.unique(reached[chosen]):
            self.history.add_measurement(int(step), found, chosen & (reached == step))

    def _finish(
        self, state: TrainState, kept: Mapping[int, ResumeState], began: float
    ) -> list[Outcome]:
        pair = (state.params, self.hyper)
        tests = self.pack.unstack(self.compiled.evaluate(self.pack, pair, self.test))
        best = self.pack.stack(self.pack.split(self.best.params))
        found = self.compiled.evaluate(self.pack, (best, self.hyper), self.test)
        best_tests = self.pack.unstack(found)
        seconds = time.perf_counter() - began
        ended = outcomes(
            self.history,
            self.configs,
            self.pack.unstack(state.params),
            tests,
            self.judges[1],
            self.test,
            structure_of_measurement(state, self.compiled.signature.ride),
            seconds,
            self.compiled.seconds,
            self.at,
        )
        return [
            dataclasses.replace(
                outcome,
                results=outcome.results | self.best.results(i, float(best_tests[i][1])),
                best=self.best.of(i)["params"]
                if self.best.step[i] not in (-1, outcome.steps)
                else None,
                kept=kept.get(i),
                resumed_from=self.start,
            )
            for i, outcome in enumerate(ended)
        ]
