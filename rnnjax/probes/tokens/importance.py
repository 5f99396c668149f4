"""Word by word: four answers to "how important is this word", side by side.

- *share*: how much the step contributes to the update of a kernel (training);
- *saliency*, gradient × input and integrated gradients: how the answer depends on the
  word's vector (a derivative, and its integral along a path);
- *influence*: how the answer changes with another word in its place (an intervention);
- *decodability*: whether the word can still be read from the state (memory).
"""

from collections.abc import Mapping

import jax
import numpy as np
import xarray as xr
from flax import struct
from jaxtyping import Array, Float

from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import last_loss_step, trace
from rnnjax.probes.contributions.to_kernels import kernels, sentence_shares
from rnnjax.probes.dataset import Words
from rnnjax.probes.dataset import word_table as words_of
from rnnjax.probes.inputs.answer import Answer
from rnnjax.probes.inputs.integrated_gradients import integrated_gradients
from rnnjax.probes.inputs.saliency import answer_trace, encoded, loss_trace, saliency
from rnnjax.probes.tokens.decodability import Decodability
from rnnjax.probes.tokens.influence import influence
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


@struct.dataclass
class WordMeasurement:
    """Quantities of every word of some sentences, each ``(T, B)``; see `VARIABLES`."""

    share: Float[Array, "T B"]
    log10_saliency: Float[Array, "T B"]
    gradient_times_input: Float[Array, "T B"]
    integrated_gradient: Float[Array, "T B"]
    completeness_error: Float[Array, "B"]
    influence_loss: Float[Array, "T B"]
    influence_loss_abs: Float[Array, "T B"]
    influence_log_probability: Float[Array, "T B"]
    influence_log_probability_abs: Float[Array, "T B"]
    influence_distance: Float[Array, "T B"]


BOTH, SENTENCE, TIME = ("time", "sentence"), ("sentence",), ("time",)

VARIABLES: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "share": (
        BOTH,
        "signed share of this step within the gradient of a kernel by this sentence "
        "alone, of its last loss; sums to 1 over time, 0 on padding, NaN without a "
        "gradient",
        "1",
    ),
    "log10_saliency": (
        BOTH,
        "log10 of the Euclidean norm of the gradient of the sentence's own loss with "
        "respect to the input vector; -inf: exactly zero, NaN: padding",
        "log10",
    ),
    "gradient_times_input": (
        BOTH,
        "input vector times the gradient of the chosen answer with respect to it; 0 on "
        "padding",
        "logits",
    ),
    "integrated_gradient": (
        BOTH,
        "integrated gradient of the chosen answer, summed over the input vector; 0 on "
        "padding",
        "logits",
    ),
    "completeness_error": (
        SENTENCE,
        "sum of the integrated gradients minus the change of the answer from the "
        "baseline",
        "logits",
    ),
    "influence_loss": (
        BOTH,
        "mean change of the sentence's own loss when this word is replaced",
        "nats or squared error",
    ),
    "influence_loss_abs": (
        BOTH,
        "mean absolute change of the sentence's own loss when this word is replaced",
        "nats or squared error",
    ),
    "influence_log_probability": (
        BOTH,
        "mean change of the log-probability of the target at the last loss step when "
        "this word is replaced; NaN for a task without classes",
        "nats",
    ),
    "influence_log_probability_abs": (
        BOTH,
        "mean absolute change of the log-probability of the target at the last loss "
        "step when this word is replaced; NaN for a task without classes",
        "nats",
    ),
    "influence_distance": (
        BOTH,
        "mean total variation between the answers at the last loss step with and "
        "without this word; Euclidean distance for a task without classes",
        "1",
    ),
    "decodability": (
        TIME,
        "how well a linear probe reads the chosen word from the state after this step, "
        "on held-out sentences",
        "accuracy or R^2",
    ),
    "decodability_error": (TIME, "standard error of decodability", "same"),
    "decodability_chance": (TIME, "score of the best constant", "same"),
    "decodability_control": (TIME, "score of the probe on permuted labels", "same"),
}
"""Dimensions, definition and unit of every variable."""

COORDINATES: Mapping[str, str] = {
    "time": "time step of the input, the first is 0",
    "sentence": "the first examples of the batch",
}


def measure_words(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    substitutes: Array,
    *,
    kernel: str,
    answer: Answer = "contrast",
    steps: int = 32,
    chunk: int | None = None,
) -> WordMeasurement:
    """All measures of each word of a batch, except for its decodability.

    Args:
        model, params, batch, spec: the model, and the sentences (see
            `first_sentences`) with their task.
        substitutes: inputs for the influence, ``(R, T, B)`` or ``(R, T, B, m)``.
        kernel: the kernel for which shares are computed, such as `layer0/V`. It should
            not be the embedding: each word has its own row there, so shares in it do
            not compare words.
        answer: the scalar for gradient × input and integrated gradients.
        steps: quadrature nodes of the integrated gradients (Gauss–Legendre, baseline
            zeros).
        chunk: see `influence`.

    Pure, works under `jit`. Costs `steps` + 4 forward and backward passes, and T·R
    forward passes.

    Raises:
        ValueError: no such kernel, or see `chosen_answer`.
    """
    x = encoded(model, params, batch)
    seen = loss_trace(model, params, batch, spec)
    last = seen
    if spec.readout == "every":
        # the other losses also contribute to words that the last one does not reach
        last = trace(model, params, batch, spec, lag="last")
    found = {uses.name: uses for uses in kernels(last)}
    if kernel not in found:
        raise ValueError(f"no kernel {kernel!r}; known: {', '.join(found)}")
    along = integrated_gradients(model, params, batch, spec, answer=answer, steps=steps)
    changed = influence(model, params, batch, spec, substitutes, chunk=chunk)
    of_answer = saliency(answer_trace(model, params, batch, spec, answer), x)
    return WordMeasurement(
        share=sentence_shares(found[kernel], batch.lengths.shape[0]),
        log10_saliency=saliency(seen, x).log10_norm,
        gradient_times_input=of_answer.times_input,
        integrated_gradient=along.attribution,
        completeness_error=along.completeness_error,
        influence_loss=changed.loss,
        influence_loss_abs=changed.loss_abs,
        influence_log_probability=changed.log_probability,
        influence_log_probability_abs=changed.log_probability_abs,
        influence_distance=changed.distance,
    )


def first_sentences(spec: TaskSpec, batch: Batch, count: int) -> Batch:
    """The first examples of a batch."""
    targets = batch.targets
    last = spec.readout == "last"
    return Batch(
        inputs=batch.inputs[:, :count],
        targets=targets[:count] if last else targets[:, :count],
        mask=batch.mask[:, :count],
        lengths=batch.lengths[:count],
        informative=batch.informative[:, :count],
    )


def word_table(
    measured: WordMeasurement,
    batch: Batch,
    spec: TaskSpec,
    *,
    kernel: str,
    words: Words | None = None,
    decodability: Decodability | None = None,
) -> xr.Dataset:
    """The measurement as a data set with dimensions time and sentence; on the host.

    Args:
        measured: the result of `measure_words`.
        batch, spec: as passed to `measure_words`.
        kernel: as passed to `measure_words`; stored as an attribute of `share`.
        words: turns the tokens of one sentence into a label for each step
            (`Task.words`); None for vectors.
        decodability: that of one word, from the states of many other sentences.

    Returns:
        `VARIABLES` and, in addition, the `word` at each step ("" on padding), which
        steps are `informative`, and the `length` and `last_step` of each sentence.
    """
    host = jax.device_get(measured)
    values = {
        name: np.asarray(getattr(host, name))
        for name in VARIABLES
        if hasattr(host, name)
    }
    if decodability is not None:
        values["decodability"] = decodability.score
        for part in ("error", "chance", "control"):
            values[f"decodability_{part}"] = getattr(decodability, part)
    data = xr.Dataset()
    for name, array in values.items():
        dims, definition, unit = VARIABLES[name]
        data[name] = (dims, array, {"definition": definition, "units": unit})
    data["share"].attrs |= {"kernel": kernel, "version": 2}
    if decodability is not None:
        data["decodability"].attrs["metric"] = decodability.metric
        data["decodability"].attrs["probe"] = decodability.probe
    lengths = np.asarray(batch.lengths)
    beside = {
        "length": (SENTENCE, lengths, "valid steps"),
        "last_step": (
            SENTENCE,
            np.asarray(last_loss_step(spec, batch)),
            "last loss step s; the lag is s - time",
        ),
        "informative": (
            BOTH,
            np.asarray(batch.informative).astype(np.int8),
            "1 where the target depends on this step",
        ),
    }
    if words is not None:
        table = words_of(np.asarray(batch.inputs), lengths, words)
        beside["word"] = (BOTH, table, "word at this step")
    for name, (dims, array, definition) in beside.items():
        data[name] = (dims, array, {"definition": definition})
    for name, definition in COORDINATES.items():
        data = data.assign_coords({name: np.arange(data.sizes[name])})
        data[name].attrs["definition"] = definition
    return data
