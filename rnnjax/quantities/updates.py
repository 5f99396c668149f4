"""One update: gradients, clipping, truncation, sensitivity."""

from rnnjax.quantities.quantity import Quantity


EACH = ("parameter_array",)

UPDATES = {
    "gradient_norm": Quantity(
        EACH,
        "norm of the gradient of this parameter array",
        by="updates.monitor.monitor",
    ),
    "used_norm": Quantity(
        EACH,
        "the same after clipping",
        by="updates.monitor.monitor",
    ),
    "clipped": Quantity(
        EACH,
        "share of its entries that clipping changed",
        by="updates.monitor.monitor",
    ),
    "update_norm": Quantity(
        EACH,
        "norm of the update of the first step",
        by="updates.monitor.monitor",
    ),
    "weight_norm": Quantity(
        EACH,
        "norm of the array itself",
        by="updates.monitor.monitor",
    ),
    "update_ratio": Quantity(
        EACH,
        "norm of the update over that of the array",
        by="updates.monitor.monitor",
    ),
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
