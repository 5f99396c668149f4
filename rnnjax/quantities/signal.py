"""What an update learns from: signal, offset and noise of each step's contribution.

G_t is what a step contributes to the gradient of one example, S_t the part of it that
the example's own label adds to the mean label, and E is the mean over examples. In the
metric of an optimizer that divides by the root of a mean of g^2, every entry of a
contribution is first divided by the root of E g^2, g being the gradient of a batch,
with the epsilon of the optimizer.
"""

from rnnjax.quantities.quantity import Quantity


EUCLIDEAN, OPTIMIZER = "euclidean", "optimizer"
"""Labels of the axis `metric`."""

BY = "contributions.signal.signal"
BOTH = ("metric", "gradient_of", "lag", "bound")
OWN = "S_t: what the example's label adds to the mean label in its gradient at this lag"

SIGNAL = {
    "signal_share": Quantity(
        BOTH,
        "<E S_t, E S> / |E S|^2 over pairs of different examples, which sums to 1 over "
        f"the lags; {OWN}; NaN where the resolution is below 2",
        by=BY,
    ),
    "update_share": Quantity(
        ("metric", "gradient_of", "lag", "part", "bound"),
        "expected share in <G_t, G> / |G|^2 of a training batch: of what labels add "
        "(signal), of what is left with the mean label (offset), and of what averages "
        "out over examples (noise); sums to 1 over lags and parts; negative where "
        "signal and offset pull against each other",
        by=BY,
    ),
    "log10_examples": Quantity(
        BOTH,
        "log10 of N* = trace of Cov(G_t) / |E S_t|^2, over examples: as many as the "
        f"signal of G_t needs to exceed its own noise; {OWN}; inf: no end was seen",
        "log10",
        by=BY,
    ),
    "log10_examples_in_update": Quantity(
        BOTH,
        "log10 of the trace of Cov(G) / |E S_t|^2, over examples: as many as the "
        f"signal of G_t needs to exceed the noise of the whole gradient; {OWN} (with G "
        "instead of S_t the noise scale of McCandlish et al. 2018)",
        "log10",
        by=BY,
    ),
    "resolution": Quantity(
        ("metric", "gradient_of"),
        "|E S|^2 over its standard error, S: what the labels add to the gradient",
        by=BY,
    ),
    "budget_horizon": Quantity(
        ("metric", "gradient_of"),
        "the farthest lag at which the signal of G_t exceeds the noise of the whole "
        "gradient within batch x updates examples, by the upper end of its interval; "
        "NaN: at none",
        "steps",
        by="contributions.signal.budget_horizon",
    ),
}
