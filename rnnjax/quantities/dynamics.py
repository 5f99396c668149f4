"""Jacobians of single steps, their products, and Lyapunov exponents."""

from functools import partial

from rnnjax.quantities.quantity import Quantity


AT = ("step", "sentence")

DROPPED, STEPS, CHAINS = 500, 2000, 4
"""Length and number of the walks on stationary input."""

INPUT = (
    f"of the recurrence by itself on stationary input: {CHAINS} walks, from states "
    f"that it had, over its inputs at steps drawn at random from the batch, {DROPPED} "
    f"steps dropped, {STEPS} counted"
)

_of_jacobian = partial(Quantity, by="dynamics.jacobian.spectrum")
_of_propagator = partial(Quantity, by="dynamics.propagator.propagator_spectrum")

DYNAMICS = {
    "singular_value": _of_jacobian(
        (*AT, "mode"), "singular values of the Jacobian of this step, largest first"
    ),
    "eigenvalue_real": _of_jacobian((*AT, "mode"), "real parts of its eigenvalues"),
    "eigenvalue_imag": _of_jacobian(
        (*AT, "mode"), "imaginary parts of its eigenvalues"
    ),
    "spectral_norm": _of_jacobian(
        AT, "largest singular value of the Jacobian", label="spectral norm of J"
    ),
    "spectral_radius": _of_jacobian(
        AT, "largest modulus of its eigenvalues", label="spectral radius of J"
    ),
    "non_normality": _of_jacobian(
        AT,
        "Henrici's departure from normality, sqrt(|J|_F^2 - sum |eigenvalue|^2), over "
        "|J|_F",
        label="departure of J from a normal matrix (0: none)",
    ),
    "log_sigma": Quantity(
        ("lag_probed", "mode"),
        "natural logarithm of the singular values of the propagator from this many "
        "steps back to the last step, of the first example; by graded QR; -inf: lost, "
        "NaN: a Jacobian on the way is not finite",
        "nats",
        by="dynamics.propagator.spectrum_over_lag",
    ),
    "log10_condition": _of_propagator(
        ("sentence",),
        "log10 of the condition number of the propagator over the whole example",
        "log10",
        label="condition of the whole product P (log₁₀)",
        digits=1,
    ),
    "mean_log_sigma": _of_propagator(
        ("sentence",), "mean of log sigma of that propagator, finite ones", "nats"
    ),
    "variance_log_sigma": _of_propagator(
        ("sentence",),
        "variance of log sigma of that propagator; 0 with mean 0: dynamical isometry",
        "nats^2",
    ),
    "worst_case_rate": _of_propagator(
        ("sentence",),
        "ln of the largest singular value of that propagator over its steps: how much "
        "a disturbance of the first state can grow at most. Exact for this example; no "
        "estimate of a Lyapunov exponent, above which it usually lies",
        "nats per step",
        label="worst case: any direction, ln σ₁(P)/T (nats per step)",
    ),
    "typical_rate": _of_propagator(
        ("sentence",),
        "ln(|P|_F / sqrt N) of that propagator over its steps: the growth of a "
        "disturbance in a random direction, root mean square",
        "nats per step",
        label="typical growth, ln(‖P‖_F/√N)/T (nats per step)",
    ),
    "log_retention": Quantity(
        ("unit",),
        "mean over steps and examples of ln |d h_i / d h_i before|, of a loop in which "
        "each unit depends on its own past alone; its time constant is -1 over it, in "
        "steps",
        "nats per step",
        by="programs.jacobians.jacobians",
    ),
    "lyapunov": Quantity(
        ("exponent",),
        f"leading Lyapunov exponents {INPUT}; by Benettin's QR, largest first; -inf: a "
        "direction is lost, NaN: the state is no number at some step",
        "nats per step",
        version=3,
        by="dynamics.lyapunov.lyapunov",
    ),
    "lyapunov_error": Quantity(
        ("exponent",),
        "standard error of that time average for this one network, by batch means "
        "over blocks of at least 5 autocorrelation times; NaN: the walk is too short. "
        "Another seed is another network",
        "nats per step",
        version=3,
        by="dynamics.time_average.time_average",
    ),
    "kaplan_yorke": Quantity(
        (),
        f"Kaplan and Yorke's dimension of the attractor {INPUT}; NaN: more than the "
        "leading exponents are needed",
        "dimensions",
        version=3,
        by="dynamics.lyapunov.kaplan_yorke",
    ),
}
