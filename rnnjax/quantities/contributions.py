"""What each time step contributes to the gradient of a parameter."""

from rnnjax.quantities.quantity import Quantity


BOTH, EACH = ("parameter", "time"), ("parameter",)

CONTRIBUTIONS = {
    "log10_contribution": Quantity(
        BOTH,
        "log10 of the Frobenius norm of G_t, what this step gives to the gradient of "
        "the parameter, summed over the batch",
        "log10",
        by="contributions.to_kernels.contribution",
    ),
    "norm_share": Quantity(
        BOTH,
        "|G_t| / sum of |G_s| over all steps",
        by="contributions.to_kernels.norm_share",
    ),
    "signed_share": Quantity(
        BOTH,
        "<G_t, G> / |G|^2, which sums to 1; NaN where G is exactly zero",
        by="contributions.to_kernels.signed_share",
    ),
    "preconditioned_share": Quantity(
        BOTH,
        "<G_t, P G> / <G, P G>, which sums to 1: share in the optimizer's first update "
        "from here, without clipping; NaN where G is zero",
        by="contributions.to_kernels.first_update_share",
    ),
    "k90": Quantity(
        EACH,
        "least number of last steps that hold 90 % of the sum of |G_t|; NaN where that "
        "sum is zero or NaN",
        "steps",
        by="contributions.spread.held_by_last",
    ),
    "log10_gradient": Quantity(
        EACH,
        "log10 of the norm of the gradient; -inf: exactly zero, NaN: no number because "
        "the network exploded; weights of a user's model that two recurrences share, "
        "or two calls of one (W@rnn and W@rnn#1), have an entry for each, and one for "
        "the sum (W)",
        "log10",
        by="contributions.to_kernels.contribution",
    ),
    "cancellation": Quantity(
        EACH,
        "|sum of G_t| / sum of |G_t|: 1 if all steps pull one way",
        by="contributions.spread.cancellation",
    ),
    "left_out": Quantity(
        ("parameter", "lag"),
        "|sum of G_t over the steps more than this lag before the end| / |G|: what "
        "truncation there leaves out; of loops of any program",
        by="programs.loop_back.back",
    ),
    "signal_to_noise": Quantity(
        ("parameter", "lag"),
        "|mean over examples of G|^2 / trace of their covariance, at this lag from the "
        "last loss step",
        by="contributions.spread.signal_to_noise",
    ),
}
