"""Learning-rate schedules: η_k = η · w_k · (end + (1 − end) · f_k), k = 0, 1, ….

Warm-up: w_k = min((k + 1)/warmup, 1). The decay after it, f_k, is `Schedule.fall`. The
kind of schedule is an array as well, so that runs with different schedules share one
program.

To add a schedule, write a class here; its fields are its keys in a configuration.
"""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from rnnjax.choice import Choice
from rnnjax.registry import Registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(Choice):
    """How the learning rate changes over the updates.

    A schedule does not depend on the `steps` of a run, so that a longer run can resume
    from a shorter one.

    Attributes:
        warmup: number of updates in which the rate grows linearly to `lr`.
    """

    group: ClassVar[str] = "lr_schedule"
    warmup: int = 0

    def check(self) -> None:
        self._check(0, 10**7, "warmup")

    def fall(self, since: Float[Array, ""]) -> Float[Array, ""]:
        """The factor f after `since` updates from the end of the warm-up."""
        return jnp.ones_like(since)


SCHEDULES: Registry[type[Schedule]] = Registry("lr_schedule")
"""Schedules by name."""


@SCHEDULES.register("constant")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """constant learning rate after the warm-up"""

    name: ClassVar[str] = "constant"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decaying(Schedule):
    """A schedule whose decay ends at a given update.

    Attributes:
        decay_steps: the update at which the decay ends, counted from the first update
            of the warm-up.
        end_factor: final rate as a fraction of `lr`.
    """

    decay_steps: int
    end_factor: float = 0.0

    def check(self) -> None:
        super().check()
        self._check(self.warmup + 1, 10**7, "decay_steps")
        self._check(0.0, 1.0, "end_factor")

    def part(self, since: Float[Array, ""]) -> Float[Array, ""]:
        """The completed fraction of the decay, from 0 to 1."""
        return jnp.minimum(since / jnp.maximum(self.decay_steps - self.warmup, 1), 1)


@SCHEDULES.register("linear")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Decaying):
    """linear decay to end_factor · lr at decay_steps"""

    name: ClassVar[str] = "linear"

    def fall(self, since: Float[Array, ""]) -> Float[Array, ""]:
        return 1 - self.part(since)


@SCHEDULES.register("cosine")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Decaying):
    """half-cosine decay to end_factor · lr at decay_steps"""

    name: ClassVar[str] = "cosine"

    def fall(self, since: Float[Array, ""]) -> Float[Array, ""]:
        return (1 + jnp.cos(jnp.pi * self.part(since))) / 2


@SCHEDULES.register("exponential")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """exponential decay, halved every half_life updates

    Attributes:
        half_life: number of updates in which the rate is halved.
        end_factor: limit of the rate, as a fraction of `lr`.
    """

    name: ClassVar[str] = "exponential"
    half_life: float
    end_factor: float = 0.0

    def check(self) -> None:
        super().check()
        self._check(1e-3, 1e9, "half_life")
        self._check(0.0, 1.0, "end_factor")

    def fall(self, since: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.exp2(-since / self.half_life)


@struct.dataclass
class Rate:
    """A schedule as arrays: its kind, and the union of the fields of all schedules."""

    kind: Int[Array, ""]
    numbers: dict[str, Float[Array, ""]]


def rate_of(schedule: Schedule) -> Rate:
    """The schedule of a run as scalars, with placeholders for fields it lacks."""
    names = {f.name for kind in SCHEDULES.values() for f in dataclasses.fields(kind)}
    missing = {"end_factor": 0.0, "warmup": 0.0}
    numbers = {n: getattr(schedule, n, missing.get(n, 1.0)) for n in names}
    return Rate(
        kind=jnp.asarray(list(SCHEDULES).index(schedule.name), jnp.int32),
        numbers={name: jnp.asarray(x, float) for name, x in numbers.items()},
    )


def factor(rate: Rate, step: Int[Array, ""]) -> Float[Array, ""]:
    """η_k / η at update `step`; exactly 1 for a constant rate without warm-up."""
    numbers: dict[str, Any] = rate.numbers
    one, k = jnp.ones((), float), step.astype(float)
    warm = jnp.minimum((k + 1) / jnp.maximum(numbers["warmup"], 1), 1)
    since = jnp.maximum(k - numbers["warmup"], 0)
    falls = []
    for kind in SCHEDULES.values():
        own = {f.name: numbers[f.name] for f in dataclasses.fields(kind)}
        falls.append(kind(**own).fall(since))
    fall = jnp.select([rate.kind == i for i in range(len(falls))], falls, one)
    end = numbers["end_factor"]
    return warm * (end + (1 - end) * fall)
