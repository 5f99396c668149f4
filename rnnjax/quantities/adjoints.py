"""Adjoints: the gradient that flows back, its decay, and its directions."""

from rnnjax.quantities.quantity import Quantity


EACH = ("array", "example")

ADJOINTS = {
    "log10_adjoint": Quantity(
        ("array", "time", "example"),
        "log10 of the Euclidean norm of the lagged adjoint: gradient of the loss at "
        "the last loss step with respect to the state after this step; -inf: exactly "
        "zero, NaN: padding, or no number because the network exploded",
        "log10",
        by="adjoints.norms.log10_norms",
    ),
    "log10_total_adjoint": Quantity(
        ("time", "example"),
        "log10 of the norm of the gradient of the whole loss with respect to the joint "
        "state after this step",
        "log10",
        by="adjoints.norms.log10_norms",
    ),
    "log10_input_gradient": Quantity(
        ("time", "example"),
        "log10 of the norm of the gradient of the whole loss with respect to what the "
        "loop reads at this step besides its state: its inputs, or projections of them "
        "that were computed before the loop",
        "log10",
        by="programs.loop_back.back",
    ),
    "effective_rank": Quantity(
        ("lag",),
        "participation ratio of the singular values of the batch of lagged adjoints at "
        "this lag, each of length 1: 1 if all examples send back one direction; NaN if "
        "the adjoint of an example is NaN",
        "directions",
        by="contributions.spread.effective_rank",
    ),
    "log10_ratio": Quantity(
        ("array", "lag"),
        "log10 of the lagged adjoint over the largest norm of the joint state's at "
        "lags 0 to 5, mean over the examples in which it is not exactly zero",
        "log10",
        by="adjoints.relative.mean_log",
    ),
    "log10_ratio_rms": Quantity(
        ("array", "lag"),
        "log10 of the root mean square over the examples of the norm of the lagged "
        "adjoint over the largest norm of the joint state's at lags 0 to 5: the few "
        "examples with the largest gradient decide it",
        "log10",
        by="adjoints.relative.log_root_mean_square",
    ),
    "log10_state_scaled": Quantity(
        ("time", "example"),
        "log10 of the lagged adjoint of the joint state in units of the state: "
        "|S^(1/2) lambda|, S the covariance of the state after this step over the "
        "examples of the batch. It does not depend on the coordinates of the state, "
        "and so compares cells; NaN: padding, or one example alone",
        "log10",
        by="adjoints.state_scaled.log10_state_scaled",
    ),
    "log10_ratio_scaled": Quantity(
        ("lag",),
        "log10_state_scaled over its largest value at lags 0 to 5, mean over the "
        "examples in which it is not exactly zero",
        "log10",
        by="adjoints.relative.mean_log",
    ),
    "adjoint_rate": Quantity(
        ("array",),
        "ln of the norm of the lagged adjoint at the first step over the largest norm "
        "of the joint state's at lags 0 to 5, divided by the lags between the two, "
        "mean over the examples; negative: vanishing",
        "nats per step",
        by="adjoints.relative.adjoint_rate",
    ),
    "decay": Quantity(
        EACH,
        "mean change of log10 of the lagged adjoint per step of lag, from lag 5 on (a "
        "third of a shorter curve); negative: vanishing, NaN: too few lags, or an "
        "adjoint that is NaN at some lag",
        "log10 per step",
        version=2,
        by="adjoints.decay.decay",
    ),
    "decay_rate": Quantity(
        ("array", "bound"),
        "a of d_l = a + b log10((l+1)/l), fitted to the steps d_l of log10_ratio from "
        "the lag of `decay` on, with its 95 % interval from their scatter: 0 for a "
        "power law",
        "log10 per step",
        by="adjoints.decay.decay",
    ),
    "decay_power": Quantity(
        ("array", "bound"),
        "b of that fit and its interval: 0 for an exponential",
        by="adjoints.decay.decay",
    ),
    "horizon": Quantity(
        ("array",),
        "first lag, from the largest of lags 0 to 5 on, at which log10_ratio is below "
        "-3, a thousandth; inf: none that was measured, NaN: no adjoint is a number",
        "steps",
        version=2,
        by="adjoints.decay.horizon",
    ),
    "horizon_stays_below": Quantity(
        ("array",),
        "first lag from which on it stays below; greater than horizon where the "
        "gradient returns",
        "steps",
        by="adjoints.decay.decay",
    ),
    "exact_zeros": Quantity(
        EACH,
        "lags at which the adjoint is exactly 0; NaN: it is NaN at some lag",
        "lags",
        by="adjoints.decay.decay",
    ),
    "log10_adjoint_rms": Quantity(
        ("time",),
        "log10 of the root mean square over the batch of the norm of the adjoint of "
        "the whole loss, in the precision of training",
        "log10",
        by="light.norms",
    ),
    "log10_delta_rms": Quantity(
        ("time",),
        "log10 of the root mean square over the batch of the norm of the gradient with "
        "respect to the product of a kernel, in the precision of training",
        "log10",
        by="light.norms",
    ),
}
