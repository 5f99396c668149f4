"""Slopes, weights, gates and the direct path."""

from functools import partial

from rnnjax.quantities.quantity import Quantity


EACH, ALONG = ("activation",), ("time", "example")

_slope = partial(Quantity, by="factors.slopes.summary")
_gate = partial(Quantity, by="factors.gates.gate_summary")
_split = partial(Quantity, by="factors.slope_times_weight.two_factors")

FACTORS = {
    "slope_mean": _slope(EACH, "mean of the activation's slope over steps and units"),
    "slope_rms": _slope(
        ("activation", "time"), "root mean square of the slope at this step"
    ),
    "slope_bound": _slope(EACH, "largest slope the activation can have"),
    "slope_active": _slope(EACH, "fraction of slopes that are not zero"),
    "slope_saturated": _slope(EACH, "fraction of slopes below 5 % of the bound"),
    "slope_count": _slope(("activation", "bin"), "histogram of slopes", "count"),
    "slope_edge": _slope(("activation", "edge"), "edges of the histogram's bins"),
    "gate_open": _gate(("gate",), "mean openness of the gate"),
    "gate_open_at": _gate(("gate", "time"), "mean openness at this step"),
    "gate_above": _gate(("gate",), "fraction of openness above 0.9"),
    "gate_below": _gate(("gate",), "fraction of openness below 0.1"),
    "time_constant": _gate(
        ("gate", "unit"),
        "-1 / mean log openness: for a gate that multiplies the past",
        "steps",
    ),
    "time_constant_shut": _gate(
        ("gate", "unit"),
        "-1 / mean log (1 - openness): for a gate whose complement keeps the past",
        "steps",
    ),
    "log10_slope_factor": _split(
        ALONG, "log10 of |phi' lambda_t| / |lambda_t|: the slopes' half of this factor"
    ),
    "log10_weight_factor": _split(
        ALONG, "log10 of |U^T delta_t| / |delta_t|: the weights' half of this factor"
    ),
    "log10_slope_product": _split(
        ALONG, "log10 of what the slopes alone leave of the last adjoint at this step"
    ),
    "log10_weight_product": _split(
        ALONG, "log10 of what the weights alone make of the last adjoint at this step"
    ),
    "retention": Quantity(
        ("time", "unit"),
        "what a unit keeps of itself over this step with all matrix products held "
        "fixed (forget gate, leak), mean over examples; NaN if one of them is NaN",
        by="factors.direct_path.retention",
    ),
    "log10_direct_share": Quantity(
        ALONG,
        "log10 of the norm of the adjoint along that direct path alone (the product of "
        "forget gates) over that of the adjoint; above 0: other paths cancel",
        "log10",
        by="factors.direct_path.direct_share",
    ),
    "sigma_max": Quantity(
        ("parameter",),
        "largest singular value of a dense recurrent kernel, the largest over its "
        "gates; NaN for other kernels",
        by="measure.sigma_max",
    ),
}
