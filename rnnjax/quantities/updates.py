"""One update: gradients, clipping, truncation, sensitivity."""

from functools import partial

from rnnjax.quantities.quantity import Quantity


EACH = ("parameter_array",)

_monitored = partial(Quantity, by="updates.monitor.monitor")

UPDATES = {
    "gradient_norm": _monitored(EACH, "norm of the gradient of this parameter array"),
    "used_norm": _monitored(EACH, "the same after clipping"),
    "clipped_entries": _monitored(EACH, "share of its entries that clipping changed"),
    "update_norm": _monitored(EACH, "norm of the update of the first step"),
    "weight_norm": _monitored(EACH, "norm of the array itself"),
    "update_ratio": _monitored(EACH, "norm of the update over that of the array"),
    "truncation_bias": Quantity(
        ("cut_lag", *EACH),
        "|g_K - g| / |g|, where g_K is the gradient cut at this lag from the last step",
        by="updates.truncation.truncation_bias",
    ),
    "sensitivity": Quantity(
        EACH,
        "mean over examples of |d h_T / d theta|^2, squared Frobenius norm, T the last "
        "step (Zucchet and Orvieto 2024)",
        by="updates.sensitivity.sensitivity",
    ),
}
