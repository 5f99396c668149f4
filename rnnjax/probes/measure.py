"""Everything a report needs to know about one training step, as arrays."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from rnnjax.executables.lookup import remembered
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.adjoints.norms import log10_norms, state_names
from rnnjax.probes.adjoints.state_scaled import log10_state_scaled
from rnnjax.probes.backward.trace import Trace, backward, forward, loss_weights, trace
from rnnjax.probes.contributions.to_kernels import (
    Uses,
    contribution,
    kernels,
    sentence_shares,
)
from rnnjax.recurrence.scaled import wide
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


@struct.dataclass
class Measurement:
    """The gradient flow of one batch; axes are labelled by `Labels`.

    Attributes:
        loss: loss of the batch.
        log10_adjoint: log10‖λ_t^{(s)}‖, of the loss at the last loss step s.
        log10_total_adjoint: log10‖∂L/∂h_t‖ of the joint state, of the whole loss.
        log10_contribution: log10‖G_t‖.
        norm_share: ‖G_t‖ / Σ_s‖G_s‖.
        signed_share: ⟨G_t, G⟩ / ‖G‖².
        word_share: the signed share within the gradient of one example, for the loss
            at its last loss step.
        log10_state_scaled: log10‖Σ^{1/2}λ_t^{(s)}‖, see `adjoints.state_scaled`.
        sigma_max: largest singular value of a dense recurrent kernel (maximum over its
            gates); NaN for other kernels.
    """

    loss: Float[Array, ""]
    log10_adjoint: Float[Array, "layer array T B"]
    log10_total_adjoint: Float[Array, "layer T B"]
    log10_contribution: Float[Array, "kernel T"]
    norm_share: Float[Array, "kernel T"]
    signed_share: Float[Array, "kernel T"]
    word_share: Float[Array, "kernel T sentence"]
    log10_state_scaled: Float[Array, "layer T B"]
    sigma_max: Float[Array, "kernel"]


@dataclasses.dataclass(frozen=True)
class Labels:
    """Names along the axes of a `Measurement`.

    Attributes:
        layers: such as `layer0`, `layer0.backward`.
        arrays: `joint`, then the state arrays of the cell.
        kernels: such as `embedding`, `layer0/V`, `layer0/U`.
    """

    layers: tuple[str, ...]
    arrays: tuple[str, ...]
    kernels: tuple[str, ...]


def measure(
    model: SequenceModel, spec: TaskSpec, params: Params, batch: Batch, sentences: int
) -> Measurement:
    """Measure one batch; pure and of static shapes, so it can be jitted or mapped.

    Args:
        model: the model; dropout is off.
        spec: loss and readout of the task.
        params: the parameters at this training step.
        batch: the examples.
        sentences: how many of the first examples are also measured individually
            (`word_share`).

    Contributions and shares refer to the training gradient of the batch, that is to
    the whole loss. Works under `jit`, `vmap` and `lax.map`. The cost is one forward
    pass, one or two reverse scans (two for a loss at every step), and about as much as
    computing the gradient of each kernel three times.
    """
    passed = forward(model, params, batch, spec)
    total = backward(passed, loss_weights(spec, batch, "total"))
    lagged = total
    if spec.readout == "every":
        lagged = backward(passed, loss_weights(spec, batch, "last"))
    found = kernels(total)
    parts = [contribution(kernel) for kernel in found]
    words = [sentence_shares(kernel, sentences) for kernel in kernels(lagged)]
    in_states = [log10_state_scaled(walk, lagged.valid) for walk in lagged.walks]
    steps = batch.inputs.shape[0]

    def stack(rows: list[Array], *shape: int) -> Array:
        return jnp.stack(rows) if rows else jnp.zeros((0, *shape))

    return Measurement(
        loss=total.loss,
        log10_adjoint=_norms(lagged),
        log10_total_adjoint=_norms(total)[:, 0],
        log10_contribution=stack([part.log10_norm for part in parts], steps),
        norm_share=stack([part.norm_share for part in parts], steps),
        signed_share=stack([part.signed_share for part in parts], steps),
        word_share=stack(words, steps, sentences),
        log10_state_scaled=jnp.stack(in_states),
        sigma_max=stack([sigma_max(kernel) for kernel in found]),
    )


def labels(
    model: SequenceModel, spec: TaskSpec, params: Params, batch: Batch
) -> Labels:
    """The labels of the result of `measure`, found without computing anything.

    They are the same for every length and baseline, so a step is traced for all of them
    once.
    """
    spec = dataclasses.replace(spec, length=1, baseline=0.0, baseline_loss=0.0)
    arguments = params, _one_step(spec, batch)
    find = lambda: dataclasses.asdict(_labels(model, spec, *arguments))
    found = remembered(find, (_labels, model, spec), arguments)
    return Labels(**{key: tuple(names) for key, names in found.items()})


def _labels(
    model: SequenceModel, spec: TaskSpec, params: Params, batch: Batch
) -> Labels:
    def traced(params: Params, batch: Batch) -> tuple[Trace, tuple[Uses, ...]]:
        whole = trace(model, params, batch, spec, lag="total")
        return whole, kernels(whole)

    whole, found = jax.eval_shape(traced, params, batch)
    return Labels(
        layers=tuple(walk.name for walk in whole.walks),
        arrays=state_names(whole.walks[0].states),
        kernels=tuple(kernel.name for kernel in found),
    )


def _one_step(spec: TaskSpec, batch: Batch) -> Batch:
    """The shapes of a batch whose examples have one step."""
    first = lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    timed = ["inputs", "mask", "informative"]
    timed += ["targets"] if spec.readout == "every" else []
    return dataclasses.replace(
        batch, **{name: first(getattr(batch, name)) for name in timed}
    )


def turned_layers(spec: TaskSpec, layers: Sequence[str]) -> tuple[str, ...]:
    """The layers of a `SequenceModel` whose lags count from step 0.

    These are the layers that run backwards, if the model gives a single answer (see
    `adjoints.norms.lags_forward`).
    """
    backwards = [name for name in layers if name.endswith(".backward")]
    return tuple(backwards if spec.readout == "last" else [])


def sigma_max(kernel: Uses) -> Float[Array, ""]:
    """Largest singular value of the effective recurrent kernel, over its gates.

    A fused kernel ``(n, gates · n)`` is split into its gates first. NaN for a kernel
    that is not dense or not used inside the time loop.
    """
    weight = kernel.weight
    if not any(use.recurrent and use.form == "dense" for use in kernel.uses):
        return jnp.array(jnp.nan)
    rows, columns = weight.shape
    gates = columns // rows if columns % rows == 0 else 1
    # One decomposition at a time: a batched one runs in XLA's thread pool and waits for
    # the same pool, which deadlocks if all threads do so at once (packed runs).
    tops = [
        jnp.linalg.svd(block, compute_uv=False)[0]
        for block in jnp.split(wide(weight), gates, axis=1)
    ]
    return jnp.max(jnp.stack(tops))


def _norms(whole: Trace) -> Float[Array, "layer array T B"]:
    return jnp.stack([log10_norms(walk, whole.valid) for walk in whole.walks])
