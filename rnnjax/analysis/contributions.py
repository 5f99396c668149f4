"""What each time step contributes to every parameter, and its spread over time."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.nn import logsumexp

from rnnjax.analysis.datasets import record
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.adjoints.norms import lags_forward
from rnnjax.probes.backward.trace import Trace
from rnnjax.probes.contributions import to_other_parameters as others
from rnnjax.probes.contributions.first_update import SIGN, FirstUpdate
from rnnjax.probes.contributions.spread import (
    by_lag,
    cancellation,
    held_by_last,
    signal_to_noise,
)
from rnnjax.probes.contributions.to_kernels import (
    Uses,
    contribution,
    first_update_share,
    kernels,
)
from rnnjax.training.optimizers import Optimizer


def kernel_by_lag(kernel: Uses, last: jax.Array, turned: tuple[str, ...]) -> Uses:
    """The uses of a kernel by lag, from step 0 in the walks named in `turned`."""
    back = kernel.name.rpartition("/")[0] in turned
    uses, zero = lags_forward(kernel.uses, last, back)
    return by_lag(dataclasses.replace(kernel, uses=uses), zero)


def _named(part: Any, preconditioned: Any, cancelled: Any, noise: Any) -> dict:
    """The quantities of one parameter, by name."""
    return {
        "log10_contribution": part.log10_norm,
        "norm_share": part.norm_share,
        "signed_share": part.signed_share,
        "preconditioned_share": preconditioned,
        "k90": held_by_last(part.norm_share),
        "log10_gradient": part.log10_gradient,
        "cancellation": cancelled,
        "signal_to_noise": noise,
    }


@functools.partial(jit_unoptimised, static_argnames=("rule", "turned"))
def _kernels(
    seen: Trace, last: jax.Array, rule: FirstUpdate, turned: tuple[str, ...]
) -> dict[str, Any]:
    found = {}
    for kernel in kernels(seen):
        found[kernel.name] = _named(
            contribution(kernel),
            first_update_share(kernel, rule),
            cancellation(kernel),
            signal_to_noise(kernel_by_lag(kernel, last, turned)),
        )
    return found


@functools.partial(jit_unoptimised, static_argnames=("rule", "turned"))
def _free(
    seen: Trace, last: jax.Array, rule: FirstUpdate, turned: tuple[str, ...]
) -> dict[str, Any]:
    found = {}
    for walk in seen.walks:
        noise = others.signal_to_noise(walk, last, walk.name in turned)
        for name, part in others.contributions(walk, rule).items():
            size = logsumexp(part.log10_norm * jnp.log(10.0)) / jnp.log(10.0)
            cancelled = 10.0 ** (part.log10_gradient - size)
            found[name] = _named(part, part.first_update_share, cancelled, noise[name])
    return found


def contributions(
    total: Trace,
    last: jax.Array,
    optimizer: Optimizer,
    turned: tuple[str, ...] = (),
) -> xr.Dataset:
    """Contributions to every kernel, bias and free parameter of a model's recurrences.

    Args:
        total: the backward pass from the whole loss.
        last: the last loss step of each example ``(B,)``.
        optimizer: the optimizer to whose first update the preconditioned share refers.
        turned: names of the walks whose lags count from step 0
            (`adjoints.norms.lags_forward`).
    """
    used = optimizer.first_update()
    rule = used or SIGN
    parts = (take(total, last, rule=rule, turned=turned) for take in (_kernels, _free))
    of_kernels, of_free = jax.device_get(tuple(parts))
    found = {**of_kernels, **of_free}
    rows = list(found.values())
    names = rows[0] if rows else ()
    values = {name: np.stack([row[name] for row in rows]) for name in names}
    if used is None:  # its first update has no formula
        values.pop("preconditioned_share", None)
    data = record(values, {"parameter": list(found)})
    if used and "preconditioned_share" in data:
        formula = f"P = {used.formula} of {optimizer.name}"
        data["preconditioned_share"].attrs["definition"] += f"; {formula}"
    return data
