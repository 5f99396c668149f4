"""The figures of a probe page, with what is said beside them."""

import dataclasses
from collections.abc import Callable

import xarray as xr

from rnnjax.report import (
    probe_text,
    probe_text_interventions,
    probe_text_signal,
    probe_text_updates,
)
from rnnjax.report.instruments import (
    adjoints,
    contributions,
    dynamics,
    factors,
    interventions,
    signal,
    tokens,
    updates,
)
from rnnjax.report.instruments.numbers import Draw


Say = Callable[[xr.Dataset], list[str]]


@dataclasses.dataclass(frozen=True)
class Instrument:
    """A figure of the page.

    Attributes:
        draw: from a data set to the figure, or None.
        say: the sentences that go with it, from the same numbers.
        title: in a few words.
        caption: what is drawn, and how it was computed.
        during_training: whether it shows several measurements of one run.
    """

    draw: Draw
    say: Say
    title: str
    caption: str
    during_training: bool = False

    @property
    def name(self) -> str:
        """Of its files."""
        return self.draw.__name__


INSTRUMENTS = (
    Instrument(
        adjoints.gradient_against_lag,
        probe_text.gradient,
        "Gradient against lag",
        "Norm of the gradient of the loss at the last loss step s with respect to the "
        "state at step t, by lag: median over examples, band: 10 to 90 % of them. The "
        "number is the mean change of log₁₀‖λ‖, in powers of ten per step of lag, "
        "first lags left out; a cross marks the first lag at which λ is exactly zero. "
        "‖λ_s‖ is the largest norm at lags 0 to 5; averages over examples are "
        "geometric means.",
    ),
    Instrument(
        adjoints.gradient_over_training,
        probe_text.training,
        "Gradient by time step and training step",
        "log₁₀ of the gradient relative to that near the loss, in units of the state "
        "where that was measured (log10_state_scaled): the first step is on the left, "
        "the loss on the right, a row for each measurement during training. The number "
        "beside a row is that of the first step; grey: exactly zero.",
        during_training=True,
    ),
    Instrument(
        adjoints.two_factors,
        probe_text.two_factors,
        "Slopes and weights",
        "‖λ_{t−1}‖ / ‖λ_t‖ = (‖φ′⊙λ_t‖ / ‖λ_t‖) · (‖Uᵀδ_t‖ / ‖δ_t‖): the products of "
        "the first factor, of the second and of both, by lag; median over examples, "
        "band: 10 to 90 %. The numbers are decades per step.",
    ),
    Instrument(
        adjoints.direct_path,
        probe_text.direct_path,
        "The direct path",
        "The adjoint that travels along the direct path alone (the product of forget "
        "gates or leaks, all matrix products held fixed) beside the whole one, both "
        "relative to ‖λ_s‖; median over examples, band: 10 to 90 %.",
    ),
    Instrument(
        adjoints.effective_rank,
        probe_text.effective_rank,
        "Effective rank",
        "Participation ratio of the singular values of the batch of lagged adjoints, "
        "at one lag, each of length 1: 1 if all examples send back one direction. Near "
        "the loss it cannot exceed what the read-out offers: one direction for two "
        "classes.",
    ),
    Instrument(
        factors.slopes,
        probe_text.slopes,
        "Slopes of the activations",
        "Histogram over steps, examples and units. Black: the mean; dashed: the "
        "largest slope the activation can have. Saturated: below 5 % of that; active: "
        "not zero.",
    ),
    Instrument(
        factors.gates,
        probe_text.gates,
        "Gates",
        "Left: openness by time step, mean over units and examples. Right: a dot for "
        "each unit; full: −1 / mean log openness, for a gate that multiplies the past; "
        "hollow: the same of 1 − openness, for a gate whose complement keeps the past. "
        "Any activation that is a sigmoid counts as a gate.",
    ),
    Instrument(
        dynamics.step_spectrum,
        probe_text.step_spectrum,
        "Singular values of one step",
        "Of the Jacobian ∂h_t/∂h_{t−1} of the joint state at some steps, in the order "
        "of the walk; median over the probed examples. Dashed: its spectral radius; a "
        "cross: exactly zero.",
    ),
    Instrument(
        dynamics.propagator_spectrum,
        probe_text_updates.propagator_spectrum,
        "Singular values of long products",
        "Of the product of Jacobians from a step to the last, by lag; first example, "
        "by graded QR. A line ends, and a cross stands below, where its direction is "
        "lost.",
    ),
    Instrument(
        dynamics.lyapunov,
        probe_text_updates.lyapunov,
        "Lyapunov exponents",
        "Of each recurrence by itself on stationary input, its inputs at steps drawn "
        "at random from the probed batch: 4 walks, 500 steps dropped, 2 000 counted, "
        "by Benettin's QR. Bars: two standard errors of this time average (batch "
        "means); another seed is another network. Along one sentence there is no such "
        "exponent: see worst case, typical and adjoint rate.",
    ),
    Instrument(
        contributions.contributions,
        probe_text.contributions,
        "What each step gives to the gradient",
        "Frobenius norm of G_t, the part of a parameter's gradient that enters at step "
        "t, summed over the batch. The dot is where the last k₉₀ steps begin, which "
        "hold 90 % of the sum of the norms; a cross: exactly zero. Equal curves are "
        "drawn once.",
    ),
    Instrument(
        contributions.signal_to_noise,
        probe_text.signal_to_noise,
        "Signal and noise by lag",
        "Squared norm of the mean over examples of what a parameter's gradient gets at "
        "this lag, over the trace of their covariance. Dotted: 1/B, the expected value "
        "where nothing is common to the B examples; it lies below that where examples "
        "cancel, as those of two classes in equal numbers do.",
    ),
    Instrument(
        signal.signal,
        probe_text_signal.signal,
        "Signal, offset and noise",
        "Left: expected shares in ⟨G_t, G⟩/‖G‖² of a training batch, over all kernels, "
        "by lag: of what the labels add (signal), of what fits the mean of the output "
        "(offset), and of what averages out over examples (noise), where the 95 % "
        "interval excludes 0; hollow: negative. Right: the number of examples from "
        "which on the signal of a lag exceeds the noise of the same lag (N*), and that "
        "of the whole gradient (N*_up), with 95 % intervals; a triangle: more than "
        "that. Dotted: the examples of the whole training run.",
    ),
    Instrument(
        updates.truncation,
        probe_text_updates.truncation,
        "Bias of truncation",
        "‖g_K − g‖ / ‖g‖, g_K the gradient that is cut at lag K from the last step. A "
        "bias of exactly 0 is not drawn; below 10⁻⁷ the rounding of float32 hides it.",
    ),
    Instrument(
        updates.updates,
        probe_text_updates.updates,
        "One update",
        "Left: norm of the update over that of the array, for the configured optimizer "
        "if it starts here; the first step of Adam is about the learning rate in every "
        "entry, so that its ratio tells the size of the weights. Right: mean over "
        "examples of |∂h_T/∂θ|², T the last step (Zucchet & Orvieto 2024).",
    ),
    Instrument(
        interventions.interventions_by_step,
        probe_text_interventions.by_step,
        "Another state at a step",
        "Each whole array of the state, and all of them (joint), is replaced after one "
        "step by its mean over the examples, and the rest of the sentence is run "
        "again: mean over examples of the absolute change of the loss, by step. "
        "Dotted: of what the adjoint predicts of the same change, ⟨λ_t, Δh_t⟩.",
    ),
    Instrument(
        interventions.interventions,
        probe_text_interventions.interventions,
        "Another unit at a step",
        "The same with one unit of the state at a time: mean over examples of the "
        "absolute change of the loss (left; units with the largest effect at the "
        "top, grey: exactly zero), and of what the adjoint predicts of the same "
        "change, ⟨λ_t, Δh_t⟩ (middle, the same colours, which end where an effect is "
        "no more than rounding). Right: one against the other "
        "for each step and unit (grey) and for the whole array (orange); on the line "
        "they are equal. Above it the loss bends more than its slope says.",
    ),
    Instrument(
        tokens.word_strip,
        probe_text_updates.word_strip,
        "Word by word",
        "Share: ⟨G_t, G⟩/‖G‖² of a kernel within the sentence, which sums to 1 "
        "(orange: with the update, purple: against it). Influence: mean change of the "
        "answer (total variation) when the word is replaced. Saliency: log₁₀ of the "
        "gradient with respect to the word's vector. Decodable: how well a linear "
        "probe reads one step's input from the state, over other sentences. Orange "
        "words decide the target; dots stand for words left out. What float32 cannot "
        "resolve is 0.",
    ),
)
