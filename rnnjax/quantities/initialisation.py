"""Networks at initialisation, over a grid: one number for all examples of a batch."""

from rnnjax.quantities.quantity import Quantity


INITIALISATION = {
    "log10_adjoint_mean": Quantity(
        ("lag",),
        "mean of log10_adjoint of the joint state over the examples in which it is not "
        "exactly zero; -inf: zero in all examples; NaN: beyond the sequence, or NaN in "
        "an example because it exploded",
        "log10",
        by="adjoints.norms.log10_norms",
    ),
    "decay_of_mean": Quantity(
        (),
        "mean change of log10_adjoint_mean per step of lag, from lag 5 on (for a "
        "shorter curve, from a third of it on); NaN: exploded",
        "log10 per step of lag",
        by="adjoints.decay.decay",
        version=2,
    ),
    "horizon_of_mean": Quantity(
        (),
        "first lag at which log10_adjoint_mean is a thousandth of its largest value at "
        "lags 0 to 5; inf: at no measured lag; NaN: exploded",
        "steps",
        by="adjoints.decay.horizon",
        version=2,
    ),
    "exploded": Quantity(
        (),
        "share of the examples in which the state of this layer, or the adjoint at "
        "some lag, is not finite; if above 0, decay_of_mean and horizon_of_mean are "
        "NaN",
        by="dynamics.explosion.first_nonfinite",
    ),
    "earliest_nonfinite_step": Quantity(
        (),
        "smallest first_nonfinite_step of any example, in the order in which the layer "
        "reads the sequence; NaN: finite everywhere",
        "steps",
        by="dynamics.explosion.first_nonfinite",
    ),
}
