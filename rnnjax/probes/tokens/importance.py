"""Word by word: four answers to "how important is this word", side by side.

- *share*: how much the step contributes to the update of a kernel (training);
- *saliency*, gradient × input and integrated gradients: how the answer depends on the
  word's vector (a derivative, and its integral along a path);
- *influence*: how the answer changes with another word in its place (an intervention);
- *decodability*: whether the word can still be read from the state (memory).
"""

import dataclasses

import jax
import numpy as np
import xarray as xr
from flax import struct
from jaxtyping import Array, Float

from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import trace
from rnnjax.probes.contributions.to_kernels import kernels, sentence_shares
from rnnjax.probes.dataset import Words
from rnnjax.probes.dataset import word_table as words_of
from rnnjax.probes.inputs.answer import Answer
from rnnjax.probes.inputs.integrated_gradients import integrated_gradients
from rnnjax.probes.inputs.saliency import answer_trace, encoded, loss_trace, saliency
from rnnjax.probes.tokens.decodability import Decodability
from rnnjax.probes.tokens.influence import influence
from rnnjax.quantities import COORDINATES, QUANTITIES
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


@struct.dataclass
class WordMeasurement:
    """Quantities of every word of some sentences (`rnnjax.quantities.tokens`)."""

    word_share: Float[Array, "T B"]
    log10_saliency: Float[Array, "T B"]
    gradient_times_input: Float[Array, "T B"]
    integrated_gradient: Float[Array, "T B"]
    completeness_error: Float[Array, "B"]
    influence_loss: Float[Array, "T B"]
    influence_loss_abs: Float[Array, "T B"]
    influence_log_probability: Float[Array, "T B"]
    influence_log_probability_abs: Float[Array, "T B"]
    influence_distance: Float[Array, "T B"]


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
        word_share=sentence_shares(found[kernel], batch.lengths.shape[0]),
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
    *,
    kernel: str,
    words: Words | None = None,
    decodability: Decodability | None = None,
) -> xr.Dataset:
    """The measurement as a data set with dimensions time and sentence; on the host.

    Args:
        measured: the result of `measure_words`.
        batch: as passed to `measure_words`.
        kernel: as passed to `measure_words`; stored as an attribute of `word_share`.
        words: turns the tokens of one sentence into a label for each step
            (`Task.words`); None for vectors.
        decodability: that of one word, from the states of many other sentences.

    Returns:
        Its quantities and, in addition, the `word` at each step ("" on padding) and
        which steps are `informative`.
    """
    host = jax.device_get(measured)
    values = {
        field.name: np.asarray(getattr(host, field.name))
        for field in dataclasses.fields(host)
    }
    if decodability is not None:
        values["decodability"] = decodability.score
        for part in ("error", "chance", "control"):
            values[f"decodability_{part}"] = getattr(decodability, part)
    lengths = np.asarray(batch.lengths)
    values["informative"] = np.asarray(batch.informative).astype(np.int8)
    if words is not None:
        values["word"] = words_of(np.asarray(batch.inputs), lengths, words)
    data = xr.Dataset()
    for name, array in values.items():
        dims = ["sentence" if d == "example" else d for d in QUANTITIES[name].dims]
        data[name] = (dims, array, QUANTITIES[name].attributes)
    data["word_share"].attrs["parameter"] = kernel
    if decodability is not None:
        data["decodability"].attrs["metric"] = decodability.metric
        data["decodability"].attrs["probe"] = decodability.probe
    for name in data.dims:
        data = data.assign_coords({name: np.arange(data.sizes[name])})
        data[name].attrs["definition"] = COORDINATES[str(name)]
    return data
