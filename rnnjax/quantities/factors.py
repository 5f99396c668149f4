"""Slopes, weights, gates and the direct path."""

from rnnjax.quantities.quantity import Quantity


EACH, ALONG = ("activation",), ("time", "example")

FACTORS = {
    "slope_mean": Quantity(
        EACH,
        "mean of the activation's slope over steps and units",
        by="factors.slopes.summary",
    ),
    "slope_rms": Quantity(
        ("activation", "time"),
        "root mean square of the slope at this step",
        by="factors.slopes.summary",
    ),
    "slope_bound": Quantity(
        EACH,
        "largest slope the activation can have",
        by="factors.slopes.summary",
    ),
    "slope_active": Quantity(
        EACH,
        "fraction of slopes that are not zero",
        by="factors.slopes.summary",
    ),
    "slope_saturated": Quantity(
        EACH,
        "fraction of slopes below 5 % of the bound",
        by="factors.slopes.summary",
    ),
    "slope_count": Quantity(
        ("activation", "bin"),
        "histogram of slopes",
        "count",
        by="factors.slopes.summary",
    ),
    "slope_edge": Quantity(
        ("activation", "edge"),
        "edges of the histogram's bins",
        by="factors.slopes.summary",
    ),
    "gate_open": Quantity(
        ("gate",),
        "mean openness of the gate",
        by="factors.gates.gate_summary",
    ),
    "gate_open_at": Quantity(
        ("gate", "time"),
        "mean openness at this step",
        by="factors.gates.gate_summary",
    ),
    "gate_above": Quantity(
        ("gate",),
        "fraction of openness above 0.9",
        by="factors.gates.gate_summary",
    ),
    "gate_below": Quantity(
        ("gate",),
        "fraction of openness below 0.1",
        by="factors.gates.gate_summary",
    ),
    "time_constant": Quantity(
        ("gate", "unit"),
        "-1 / mean log openness: for a gate that multiplies the past",
        "steps",
        by="factors.gates.gate_summary",
    ),
    "time_constant_shut": Quantity(
        ("gate", "unit"),
        "-1 / mean log (1 - openness): for a gate whose complement keeps the past",
        "steps",
        by="factors.gates.gate_summary",
    ),
    "log10_slope_factor": Quantity(
        ALONG,
        "log10 of |phi' lambda_t| / |lambda_t|: the slopes' half of this factor",
        by="factors.slope_times_weight.two_factors",
    ),
    "log10_weight_factor": Quantity(
        ALONG,
        "log10 of |U^T delta_t| / |delta_t|: the weights' half of this factor",
        by="factors.slope_times_weight.two_factors",
    ),
    "log10_slope_product": Quantity(
        ALONG,
        "log10 of what the slopes alone leave of the last adjoint at this step",
        by="factors.slope_times_weight.two_factors",
    ),
    "log10_weight_product": Quantity(
        ALONG,
        "log10 of what the weights alone make of the last adjoint at this step",
        by="factors.slope_times_weight.two_factors",
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
