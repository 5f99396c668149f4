"""How outputs of any model depend on its inputs, step by step."""

from functools import partial

from rnnjax.quantities.quantity import Quantity


_matrix = partial(
    Quantity,
    ("output_step", "input_step"),
    by="inputs.input_influence.log10_influence",
)

INPUTS = {
    "log10_influence": _matrix(
        "log10 of the Frobenius norm of the derivative of the output at one step with "
        "respect to the input at another, root mean square over examples; -inf: zero "
        "or below the range of floats, NaN: rounding of a Fourier transform",
        "log10",
    ),
    "log10_influence_error": _matrix(
        "standard error of log10_influence over random projections and examples, to "
        "first order",
        "log10",
    ),
    "log10_influence_by_distance": Quantity(
        ("distance",),
        "log10 of the root mean square of the influence over all pairs of an input and "
        "an output that many steps later",
        "log10",
        by="inputs.input_influence.log10_influence",
    ),
}
