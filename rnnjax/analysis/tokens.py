"""Word by word: share, saliency, influence and decodability of a task's sentences."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from rnnjax.analysis.datasets import some_sentences
from rnnjax.executables.functions import begun, jit_unoptimised
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import EMBEDDING
from rnnjax.probes.dataset import Words
from rnnjax.probes.tokens.decodability import word_decodability
from rnnjax.probes.tokens.importance import first_sentences, measure_words, word_table
from rnnjax.probes.tokens.influence import permuted_substitutes, token_substitutes
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


_words = jit_unoptimised(
    measure_words, static_argnames=("model", "spec", "kernel", "answer")
)

MAX_SUBSTITUTES = 24
"""Number of substitutes for each word: the whole vocabulary if that is not larger."""


@functools.partial(jit_unoptimised, static_argnames=("spec", "sentences"))
def _substitutes(spec: TaskSpec, sentences: int, batch: Batch) -> jax.Array:
    """What replaces each word of the first sentences."""
    key = jax.random.key(0)
    vocabulary = spec.vocabulary
    if vocabulary is None:
        return permuted_substitutes(key, batch, MAX_SUBSTITUTES)[:, :, :sentences]
    count = min(vocabulary, MAX_SUBSTITUTES)
    tokens = jax.random.choice(key, vocabulary, (count,), replace=False)
    return token_substitutes(jnp.sort(tokens), first_sentences(spec, batch, sentences))


def tokens(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    many: Batch,
    spec: TaskSpec,
    sentences: int,
    names: Words | None,
    kernels: Sequence[str],
) -> Callable[[], xr.Dataset]:
    """The first sentences of a batch, word by word.

    Args:
        batch: examples, of which the first `sentences` are measured.
        many: held-out examples, to whose states a linear probe is fitted that reads the
            most informative step (the first step, if the task specifies none).
        names: maps the tokens of a sentence to its words; None for vectors.
        kernels: names of all kernels of the model.

    The share is that in the gradient of the first layer's input kernel V, or, if there
    is none, of the first kernel of a recurrence; see `measure_words`. The measurement
    begins at once, see `begun`; the result is a function that returns the data set.
    """
    some = some_sentences(spec, batch, sentences)
    instead = _substitutes(spec, sentences, batch)
    own = [name for name in kernels if name != EMBEDDING] or kernels
    kernel = "layer0/V" if "layer0/V" in own else own[0]
    answer = "contrast" if spec.loss == "cross_entropy" else 0
    chosen: Any = {"kernel": kernel, "answer": answer}
    measured = begun(_words, model, params, some, spec, instead, **chosen)

    def data_set() -> xr.Dataset:
        informative = np.asarray(many.informative).mean(axis=1)
        step = int(np.argmax(informative))
        probe = "ridge_classifier" if spec.vocabulary else "ridge"
        memory = word_decodability(model, params, many, step=step, probe=probe)
        data = word_table(
            measured(), some, kernel=kernel, words=names, decodability=memory
        )
        data["decodability"].attrs["step"] = step
        return data

    return data_set
