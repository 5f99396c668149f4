"""Every word of a sentence: share, saliency, influence, decodability."""

from functools import partial

from rnnjax.quantities.quantity import Quantity


BOTH = ("time", "sentence")

_influence = partial(Quantity, by="tokens.influence.influence")
_decodability = partial(Quantity, by="tokens.decodability.word_decodability")

TOKENS = {
    "word_share": Quantity(
        BOTH,
        "signed share of this step within the gradient of a parameter by this "
        "sentence alone, of its last loss; sums to 1 over time, 0 on padding, NaN "
        "without a gradient",
        "1",
        by="contributions.to_kernels.sentence_shares",
        version=2,
    ),
    "log10_saliency": Quantity(
        BOTH,
        "log10 of the Euclidean norm of the gradient of the sentence's own loss with "
        "respect to the input vector; -inf: exactly zero, NaN: padding",
        "log10",
        by="inputs.saliency.saliency",
    ),
    "gradient_times_input": Quantity(
        BOTH,
        "input vector times the gradient of the chosen answer with respect to it; 0 "
        "on padding",
        "logits",
        by="inputs.saliency.of_answer",
    ),
    "integrated_gradient": Quantity(
        BOTH,
        "integrated gradient of the chosen answer, summed over the input vector; 0 on"
        " padding",
        "logits",
        by="inputs.integrated_gradients.integrated_gradients",
    ),
    "completeness_error": Quantity(
        ("sentence",),
        "sum of the integrated gradients minus the change of the answer from the "
        "baseline",
        "logits",
        by="inputs.integrated_gradients.integrated_gradients",
    ),
    "influence_loss": _influence(
        BOTH,
        "mean change of the sentence's own loss when this word is replaced",
        "nats or squared error",
    ),
    "influence_loss_abs": _influence(
        BOTH,
        "mean absolute change of the sentence's own loss when this word is replaced",
        "nats or squared error",
    ),
    "influence_log_probability": _influence(
        BOTH,
        "mean change of the log-probability of the target at the last loss step when "
        "this word is replaced; NaN for a task without classes",
        "nats",
    ),
    "influence_log_probability_abs": _influence(
        BOTH,
        "mean absolute change of the log-probability of the target at the last loss "
        "step when this word is replaced; NaN for a task without classes",
        "nats",
    ),
    "influence_distance": _influence(
        BOTH,
        "mean total variation between the answers at the last loss step with and "
        "without this word; Euclidean distance for a task without classes",
        "1",
    ),
    "decodability": _decodability(
        ("time",),
        "how well a linear probe reads the chosen word from the state after this "
        "step, on held-out sentences",
        "accuracy or R^2",
    ),
    "decodability_error": _decodability(
        ("time",), "standard error of decodability", "same"
    ),
    "decodability_chance": _decodability(
        ("time",), "score of the best constant", "same"
    ),
    "decodability_control": _decodability(
        ("time",), "score of the probe on permuted labels", "same"
    ),
}
