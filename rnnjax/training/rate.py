"""Learning-rate schedules: η_k = η · w_k · (end + (1 − end) · f_k), k = 0, 1, ….

Warm-up: w_k = min((k + 1)/warmup, 1). With j = max(k − warmup, 0) and
p = min(j/(over − warmup), 1): constant f = 1, linear f = 1 − p, cosine
f = (1 + cos πp)/2, exponential f = 2^(−j/half_life). The kind is an array as well, so
that runs with different schedules share one program.
"""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from rnnjax.training.config import KINDS_OF_RATE, RateConfig


@struct.dataclass
class Rate:
    """The numbers of a schedule; see `rnnjax.training.config.RateConfig`."""

    kind: Int[Array, ""]
    warmup: Float[Array, ""]
    over: Float[Array, ""]
    end: Float[Array, ""]
    half_life: Float[Array, ""]


def build_rate(config: RateConfig) -> Rate:
    """The schedule of a run as scalars."""
    number = lambda value: jnp.asarray(value, float)
    return Rate(
        kind=jnp.asarray(KINDS_OF_RATE.index(config.name), jnp.int32),
        warmup=number(config.warmup),
        over=number(config.over or 0),
        end=number(config.end),
        half_life=number(config.half_life or 1.0),
    )


def factor(rate: Rate, step: Int[Array, ""]) -> Float[Array, ""]:
    """η_k / η at update `step`; exactly 1 for a constant rate without warm-up."""
    one, k = jnp.ones((), float), step.astype(float)
    warm = jnp.minimum((k + 1) / jnp.maximum(rate.warmup, 1), 1)
    since = jnp.maximum(k - rate.warmup, 0)
    part = jnp.minimum(since / jnp.maximum(rate.over - rate.warmup, 1), 1)
    falls = [one, 1 - part, (1 + jnp.cos(jnp.pi * part)) / 2]
    falls.append(jnp.exp2(-since / rate.half_life))
    fall = jnp.select([rate.kind == i for i in range(len(falls))], falls, one)
    return warm * (rate.end + (1 - rate.end) * fall)
