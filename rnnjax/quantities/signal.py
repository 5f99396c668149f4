"""What an update learns from: signal, offset and noise of each step's contribution."""

from rnnjax.quantities.quantity import Quantity


BY = "contributions.signal.signal"
BOTH = ("kernel", "lag", "bound")

SIGNAL = {
    "signal_share": Quantity(
        BOTH,
        "<E G_t, E G> / |E G|^2 over pairs of different examples, less the same with "
        "permuted labels, which sums to 1 over the lags; NaN where the resolution is "
        "below 2",
        by=BY,
    ),
    "update_share": Quantity(
        ("kernel", "lag", "part"),
        "expected share in <G_t, G> / |G|^2 of a training batch: of what differs from "
        "permuted labels (signal), of what does not (offset), and of what averages out "
        "over examples (noise); sums to 1 over lags and parts",
        by=BY,
    ),
    "log10_examples": Quantity(
        BOTH,
        "log10 of N* = trace of Cov(G_t) / |E G_t|^2, over examples: as many as the "
        "mean of G_t needs to exceed its own noise; inf where this sample shows no end",
        "log10",
        by=BY,
    ),
    "log10_examples_in_update": Quantity(
        BOTH,
        "log10 of the trace of Cov(G) / |E G_t|^2, over examples: as many as the mean "
        "of G_t needs to exceed the noise of the whole gradient (with G instead of G_t "
        "the noise scale of McCandlish et al. 2018)",
        "log10",
        by=BY,
    ),
    "resolution": Quantity(
        ("kernel",),
        "|E G|^2 less the same with permuted labels, over its standard error",
        by=BY,
    ),
    "budget_horizon": Quantity(
        ("kernel",),
        "the farthest lag at which the mean of G_t exceeds the noise of the whole "
        "gradient within batch x updates examples, by the upper end of its interval; "
        "NaN: at none",
        "steps",
        by="contributions.signal.budget_horizon",
    ),
}
