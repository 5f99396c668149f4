"""Estimate the memory and time of a pack by compiling it and timing a few updates.

The results of these updates are discarded. Compiling needs only shapes, so a pack that
does not fit into memory is recognised before anything is allocated.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rnnjax.devices import free_host_memory
from rnnjax.tasks.base import Data, Split
from rnnjax.training.build import build_hyper, build_task, draw_params
from rnnjax.training.compiled import Compiled
from rnnjax.training.config import RunConfig
from rnnjax.training.hyper import Hyper
from rnnjax.training.keys import PARAMS, key_for
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import Pack
from rnnjax.training.program import Program, Signature
from rnnjax.training.state import TrainState, Until
from rnnjax.types import Batch


UPDATES = 20

COPIES = 2
"""A pack is only tried if this many times its memory is free."""


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """Memory and time that one pack needs.

    Attributes:
        bytes: memory on all devices together, as reported by XLA.
        seconds: estimated wall time from the first update to the last; None: the pack
            was not tried, because it may not fit into memory.
        compile_seconds: time that compiling took now.
    """

    bytes: int
    seconds: float | None
    compile_seconds: float


def shapes(config: RunConfig, signature: Signature) -> tuple[TrainState, Hyper]:
    """State and hyper-parameters of a run as `jax.ShapeDtypeStruct`, not computed."""
    program = Program(signature)
    _, data = build_task(config.task, config.task_options)

    def start(data: Data) -> tuple[TrainState, Hyper]:
        hyper = build_hyper(config)
        params = draw_params(config, signature.spec, key_for(hyper, PARAMS, 0))
        ride = program.empty_ride(params, hyper, data)
        return program.start(params, hyper, ride), hyper

    return jax.eval_shape(start, dict(data))


def prepare(compiled: Compiled, config: RunConfig) -> None:
    """Compile what a pack of such runs will call, from shapes only."""
    state, hyper = shapes(config, compiled.signature)
    task, data = build_task(config.task, config.task_options)
    pack = Pack(compiled.mesh, 1, compiled.capacity)
    until = Until(*(np.zeros((), kind) for kind in (np.int32, bool, np.int32)))
    stacked = lambda tree: jax.tree.map(pack.stacked, tree)
    shared = lambda tree: jax.tree.map(pack.shared, tree)

    def batch(split: Split, size: int) -> Batch:
        draw = lambda data: task.heldout(split, size, data)
        return shared(jax.eval_shape(draw, dict(data)))

    pair = stacked((state.params, hyper))
    runs = stacked((state, hyper, until))
    compiled.prepare("chunk", pack, runs, shared(dict(data)))
    compiled.prepare("evaluate", pack, pair, batch("validation", config.eval.size))
    if config.probe.preset == "full":
        compiled.prepare("probe", pack, pair, batch("validation", config.probe.batch))


def rehearse(
    compiled: Compiled, configs: Sequence[RunConfig], updates: int = UPDATES
) -> Rehearsal:
    """Time an update, an evaluation and a probe of a pack, and extrapolate.

    Args:
        compiled: the program of the pack.
        configs: its runs.
        updates: number of updates to time, after as many that are not timed.
    """
    prepare(compiled, configs[0])
    needed = compiled.memory() * compiled.mesh.devices.size
    seconds = None
    if COPIES * needed <= free_memory(compiled.mesh):
        seconds = _seconds_of(PackTraining(compiled, configs), updates)
    return Rehearsal(needed, seconds, compiled.seconds)


def free_memory(mesh: Mesh) -> float:
    """Bytes that can be allocated now, as far as this is known."""
    first = mesh.devices.flat[0]
    if first.platform != "cpu":
        limit = (first.memory_stats() or {}).get("bytes_limit", math.inf)
        return limit * mesh.devices.size
    return free_host_memory()


def _seconds_of(training: PackTraining, updates: int) -> float:
    """Seconds of all updates, evaluations and probes, extrapolated from a few."""
    training.warm()
    compiled, pack, schedule = training.compiled, training.pack, training.schedule
    pair = (training.state.params, training.hyper)
    updates = min(updates, schedule.steps)
    chunk = lambda: training.advance(training.state, 0, updates)
    evaluate = lambda: compiled.evaluate(pack, pair, training.validation)
    probe = lambda: compiled.probe(pack, pair, training.probe_batch)
    seconds = schedule.evaluations * _seconds(evaluate)
    if updates:
        seconds += schedule.steps * _seconds(chunk) / updates
    if training.configs[0].probe.preset == "full":
        seconds += len(schedule.probes) * _seconds(probe)
    return seconds


def _seconds(function: Callable[[], Any]) -> float:
    """Seconds of the second call, as the first one also allocates memory."""
    jax.block_until_ready(function())
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began
