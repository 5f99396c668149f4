"""What a pack will take: compiled, and tried for a few updates that nobody keeps."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax

from rnnjax.training.loop import PackTraining


UPDATES = 20


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """Demands of one pack.

    Attributes:
        bytes: memory on all devices together, by XLA's own account.
        seconds: wall time from the first update to the last, estimated.
        compile_seconds: what compiling took now.
    """

    bytes: int
    seconds: float
    compile_seconds: float


def rehearse(training: PackTraining, updates: int = UPDATES) -> Rehearsal:
    """Time an update, an evaluation and a probe of a pack, and count how many come.

    Args:
        training: of the pack; its state is left as it was.
        updates: how many are timed, after as many that are not.
    """
    training.warm()
    compiled, pack, schedule = training.compiled, training.pack, training.schedule
    pair = (training.state.params, training.hyper)
    updates = min(updates, schedule.steps)
    chunk = lambda: training.advance(training.state, 0, updates)
    evaluate = lambda: compiled.evaluate(pack, pair, training.validation)
    probe = lambda: compiled.probe(pack, pair, training.probe_batch)
    seconds = len(schedule.evaluations) * _seconds(evaluate)
    if updates:
        seconds += schedule.steps * _seconds(chunk) / updates
    if training.configs[0].probe.preset == "full":
        seconds += len(schedule.probes) * _seconds(probe)
    devices = compiled.mesh.devices.size
    return Rehearsal(compiled.memory() * devices, seconds, compiled.seconds)


def _seconds(function: Callable[[], Any]) -> float:
    """Of the second call: the first one also fetches memory."""
    jax.block_until_ready(function())
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began
