"""Learning-rate schedules: η_k = η · w_k · (end + (1 − end) · f_k), k = 0, 1, ….

Warm-up: w_k = min((k + 1)/warmup, 1). What follows, f_k, is `Schedule.fall`. The kind
is an array as well, so that runs with different schedules share one program.

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
    """How the learning rate goes on; nothing here depends on the `steps` of a run, so
    that a longer run can resume from a shorter one.

    Attributes:
        warmup: updates in which the rate grows linearly to `lr`.
    """

    group: ClassVar[str] = "lr_schedule"
    warmup: int = 0

    def check(self) -> None:
        self._check(0, 10**7, "warmup")

    def fall(self, since: Float[Array, ""]) -> Float[Array, ""]:
        """f of the updates since the warm-up."""
        return jnp.ones_like(since)


SCHEDULES: Registry[type[Schedule]] = Registry("lr_schedule")
"""Schedules by name."""


@SCHEDULES.register("constant")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """the learning rate as it is, after a warm-up"""

    name: ClassVar[str] = "constant"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decaying(Schedule):
    """A schedule with an end.

    Attributes:
        decay_steps: the update at which the decay ends, the warm-up included.
        end_factor: what remains of `lr` in the end, as a share.
    """

    decay_steps: int
    end_factor: float = 0.0

    def check(self) -> None:
        super().check()
        self._check(self.warmup + 1, 10**7, "decay_steps")
        self._check(0.0, 1.0, "end_factor")

    def part(self, since: Float[Array, ""]) -> Float[Array, ""]:
        """How much of the decay is over, from 0 to 1."""
        return jnp.minimum(since / jnp.maximum(self.decay_steps - self.warmup, 1), 1)


@SCHEDULES.register("linear")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Decaying):
    """down along a line"""

    name: ClassVar[str] = "linear"

    def fall(self, since: Float[Array, ""]) -> Float[Array, ""]:
        return 1 - self.part(since)


@SCHEDULES.register("cosine")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Decaying):
    """down along half a cosine"""

    name: ClassVar[str] = "cosine"

    def fall(self, since: Float[Array, ""]) -> Float[Array, ""]:
        return (1 + jnp.cos(jnp.pi * self.part(since))) / 2


@SCHEDULES.register("exponential")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """halved again and again

    Attributes:
        half_life: updates in which the rate is halved.
        end_factor: what remains of `lr` in the end, as a share.
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
    """A schedule as arrays: its kind, and the fields that any schedule has."""

    kind: Int[Array, ""]
    numbers: dict[str, Float[Array, ""]]


def rate_of(schedule: Schedule) -> Rate:
    """The schedule of a run as scalars; 1 for what it does not have."""
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
