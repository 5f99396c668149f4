"""What the factors consist of: slopes, weights, gates, and the direct path."""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from rnnjax.analysis.variables import Variable, jit_unoptimised, record
from rnnjax.probes.backward.walk import Walk
from rnnjax.probes.factors.direct_path import (
    direct_path,
    direct_share,
    retention,
)
from rnnjax.probes.factors.gates import gate_summary, gates
from rnnjax.probes.factors.slope_times_weight import two_factors
from rnnjax.probes.factors.slopes import preactivations, summary


EACH, ALONG = ("activation",), ("time", "example")

VARIABLES = {
    "slope_mean": Variable(EACH, "mean of the activation's slope over steps and units"),
    "slope_rms": Variable(
        ("activation", "time"), "root mean square of the slope at this step"
    ),
    "slope_bound": Variable(EACH, "largest slope the activation can have"),
    "slope_active": Variable(EACH, "fraction of slopes that are not zero"),
    "slope_saturated": Variable(EACH, "fraction of slopes below 5 % of the bound"),
    "slope_count": Variable(("activation", "bin"), "histogram of slopes", "count"),
    "slope_edge": Variable(("activation", "edge"), "edges of the histogram's bins"),
    "gate_open": Variable(("gate",), "mean openness of the gate"),
    "gate_open_at": Variable(("gate", "time"), "mean openness at this step"),
    "gate_above": Variable(("gate",), "fraction of openness above 0.9"),
    "gate_below": Variable(("gate",), "fraction of openness below 0.1"),
    "time_constant": Variable(
        ("gate", "unit"),
        "-1 / mean log openness: for a gate that multiplies the past",
        "steps",
    ),
    "time_constant_shut": Variable(
        ("gate", "unit"),
        "-1 / mean log (1 - openness): for a gate whose complement keeps the past",
        "steps",
    ),
    "log10_slope_factor": Variable(
        ALONG, "log10 of |phi' lambda_t| / |lambda_t|: the slopes' half of this factor"
    ),
    "log10_weight_factor": Variable(
        ALONG, "log10 of |U^T delta_t| / |delta_t|: the weights' half of this factor"
    ),
    "log10_slope_product": Variable(
        ALONG, "log10 of what the slopes alone leave of the last adjoint at this step"
    ),
    "log10_weight_product": Variable(
        ALONG, "log10 of what the weights alone make of the last adjoint at this step"
    ),
    "retention": Variable(
        ("time", "unit"),
        "what a unit keeps of itself over this step with all matrix products held "
        "fixed (forget gate, leak), mean over examples; NaN if one of them is NaN",
    ),
    "log10_direct_share": Variable(
        ALONG,
        "log10 of the norm of the adjoint along that direct path alone (the product of "
        "forget gates) over that of the adjoint; above 0: other paths cancel",
        "log10",
    ),
}


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
        kept, share = _direct(lagged)
        if np.any((kept != 0) & ~np.isnan(kept)):  # an Elman cell keeps nothing
            values |= {"retention": kept, "log10_direct_share": share}
    except ValueError:
        pass  # state arrays of several sizes: no unit-by-unit path
    names = {"activation": [s.name for s in slopes], "gate": [g.name for g in opened]}
    return record(values, VARIABLES, names)
