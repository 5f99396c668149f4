"""What the factors consist of: slopes, weights, gates, and the direct path."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from rnnjax.analysis.datasets import record
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.backward.walk import Walk
from rnnjax.probes.factors.direct_path import (
    direct_path,
    direct_share,
    retention,
)
from rnnjax.probes.factors.gates import gate_summary, gates
from rnnjax.probes.factors.slope_times_weight import two_factors
from rnnjax.probes.factors.slopes import preactivations, summary


@jit_unoptimised
def _slopes(walk: Walk):
    found = preactivations(walk.forward)
    return [summary(one) for one in found], [gate_summary(g) for g in gates(found)]


@jit_unoptimised
def _direct(walk: Walk):
    direct = direct_path(walk.forward)
    valid = jnp.broadcast_to(direct.valid[..., None], direct.block[:, :, 0, 0].shape)
    kept = jnp.mean(retention(direct), axis=1, where=valid)
    return kept, direct_share(walk, direct)


_two_factors = jit_unoptimised(two_factors)


def factors(lagged: Walk) -> xr.Dataset:
    """Slopes, gates and direct path of one recurrence, as far as it has them.

    The two-factor split exists only if the state of the cell enters through a single
    product, the direct path only if the step is pointwise apart from its products.
    """
    slopes, opened = _slopes(lagged)
    values: dict = {}
    if slopes:
        values |= {
            "slope_mean": [s.mean for s in slopes],
            "slope_rms": [s.rms for s in slopes],
            "slope_bound": [s.bound for s in slopes],
            "slope_active": [s.active for s in slopes],
            "slope_saturated": [s.saturated for s in slopes],
            "slope_count": [s.counts for s in slopes],
            "slope_edge": [s.edges for s in slopes],
        }
    if opened:
        values |= {
            "gate_open": [g.mean for g in opened],
            "gate_open_at": [g.by_time for g in opened],
            "gate_above": [g.open for g in opened],
            "gate_below": [g.shut for g in opened],
            "time_constant": [g.time_constant for g in opened],
            "time_constant_shut": [g.time_constant_shut for g in opened],
        }
    try:
        split = _two_factors(lagged)
        values |= {
            "log10_slope_factor": split.slope,
            "log10_weight_factor": split.weight,
            "log10_slope_product": split.slope_sum,
            "log10_weight_product": split.weight_sum,
        }
    except ValueError:
        pass  # more than one product: the cell has no such split
    try:
        kept, share = jax.device_get(_direct(lagged))
        if np.any((kept != 0) & ~np.isnan(kept)):  # an Elman cell keeps nothing
            values |= {"retention": kept, "log10_direct_share": share}
    except ValueError:
        pass  # state arrays of several sizes: no unit-by-unit path
    names = {"activation": [s.name for s in slopes], "gate": [g.name for g in opened]}
    return record(values, names)
