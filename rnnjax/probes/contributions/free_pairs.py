"""`pairs` for biases and other parameters that are not kernels."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from rnnjax.probes.backward.walk import Walk
from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.probes.contributions.pairs import (
    GROUPS,
    Metric,
    PairSums,
    group_sizes,
    metric_of,
)
from rnnjax.probes.contributions.to_other_parameters import at_each_lag
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import NO_EXPONENT, Scaled


Rows = dict[str, Scaled]
"""Gradients of examples ``(B, parameters)`` by name."""


def free_totals(
    walk: Walk, last: Int[Array, "B"], turned: bool = False
) -> tuple[Rows, dict[str, Array]]:
    """G_b of every such parameter, and the largest exponent of its G_{t,b} by lag."""
    rows, lags = at_each_lag(walk, last, turned)

    def add(total: Rows, now: Any) -> tuple[Rows, dict[str, Array]]:
        here = {name: scaled.normalise(x) for name, x in rows(now).items()}
        grown = {k: scaled.normalise(scaled.add(total[k], x)) for k, x in here.items()}
        return grown, {name: jnp.max(x.exponent) for name, x in here.items()}

    shapes = jax.eval_shape(rows, jax.tree.map(lambda x: x[0], lags))

    def nothing(x: Scaled) -> Scaled:
        exponent = jnp.full(x.exponent.shape, NO_EXPONENT, jnp.int32)
        return Scaled(jnp.zeros(x.mantissa.shape, x.mantissa.dtype), exponent)

    return lax.scan(add, {k: nothing(x) for k, x in shapes.items()}, lags)


def free_metrics(totals: Rows, batch: int, rule: FirstUpdate) -> dict[str, Metric]:
    """`metric_of` every such parameter, from the first result of `free_totals`."""
    found = {}
    for name, total in totals.items():
        top = jnp.max(total.exponent)
        g = scaled.shift(total.mantissa, total.exponent - top)
        means = jnp.mean(g, axis=0), jnp.mean(jnp.square(g), axis=0)
        found[name] = metric_of(*means, top, batch, rule)
    return found


def free_pair_sums(
    walk: Walk,
    last: Int[Array, "B"],
    turned: bool = False,
    metrics: dict[str, Metric] | None = None,
    groups: int = GROUPS,
) -> dict[str, PairSums]:
    """`pairs.pair_sums` of every parameter other than a kernel, by lag.

    Costs two vector-Jacobian products for each example and lag, and temporary memory of
    a few times B times the size of the parameters.
    """
    totals, step = free_totals(walk, last, turned)
    rows, lags = at_each_lag(walk, last, turned)
    count = last.shape[0]
    dealt = jnp.arange(count) % len(group_sizes(count, groups))
    ones = jax.nn.one_hot(dealt, len(group_sizes(count, groups)))
    top = {name: jnp.max(step[name]) for name in totals}
    scale = {} if metrics is None else {k: m.scale for k, m in metrics.items()}

    def at(exponent: Any, each: Rows, name: str) -> Array:
        far = jnp.maximum(each[name].exponent - exponent, -(2**20))
        found = scaled.shift(each[name].mantissa, far)
        return found * scale[name][None] if name in scale else found

    wholes = {name: at(top[name], totals, name) for name in totals}

    def one(now: tuple[Any, dict[str, Array]]) -> dict[str, tuple[Array, ...]]:
        entry, exponents = now
        each, found = rows(entry), {}
        for name in totals:
            own, whole = at(exponents[name], each, name), wholes[name]
            with jax.default_matmul_precision("highest"):
                here, there = ones.T @ own, ones.T @ whole
                inner = here @ here.T, here @ there.T
                alone = jnp.sum(own * own, -1) @ ones, jnp.sum(own * whole, -1) @ ones
            found[name] = (*inner, *alone)
        return found

    sums = lax.map(one, (lags, step))
    moved = {} if metrics is None else {k: m.exponent for k, m in metrics.items()}

    found = {}
    for name, (at_step, with_whole, own_at_step, own_with_whole) in sums.items():
        away = moved.get(name, 0)
        exponents = [jnp.maximum(x[name] + away, NO_EXPONENT) for x in (step, top)]
        found[name] = PairSums(
            at_step, with_whole, own_at_step, own_with_whole, *exponents
        )
    return found
