"""One forward and one backward pass through a model that keep every cotangent.

Adjoints are carried as mantissa × 2^k with one exponent per step and example. Between
two recurrences ordinary autodiff can be applied to the mantissas, with the exponents
unchanged, as long as each step of each example depends only on the same step of the
same example (a concatenation of directions, a dense layer, a normalisation over units,
a residual connection), because the map is linear in its cotangent. Only the recurrence
mixes steps, and the reverse scan takes care of the exponents. This holds for our own
models, which are opened with `pointwise=True`.

A user's model may mix steps or examples between recurrences (attention, a convolution
over time, a reversal, batch normalisation). Its cotangents are then passed through in
bands of similar exponents, one band after the other: within a band all share one
exponent, and the results are added up with exponents. This is correct for every model,
and gives the same numbers as the first method where nothing mixes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from rnnjax.errors import UserError
from rnnjax.models.objective import loss_mask, objective, per_example
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.adjoints.norms import log10_norms
from rnnjax.probes.backward.margin import by_margin
from rnnjax.probes.backward.marked_program import Program
from rnnjax.probes.backward.segment_adjoints import pass_on
from rnnjax.probes.backward.segments import INPUT, Apply, Segments, cut, no_cotangent
from rnnjax.probes.backward.walk import Use, Walk, Walked, lifted, walk_back
from rnnjax.recurrence.scaled import Scaled
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


Lag = Literal["last", "total"]

EMBEDDING = "embedding"
"""The name of the embedding matrix among the kernels."""


@struct.dataclass
class Lookup:
    """An embedding, which looks up rows of `table` by token.

    `use.delta` is the cotangent of its output.
    """

    use: Use
    table: Array
    name: str = struct.field(pytree_node=False)


@struct.dataclass
class Trace:
    """The result of a forward and a backward pass through a model.

    Attributes:
        walks: its recurrences, in the order in which the model calls them.
        lookups: its embeddings.
        inputs: cotangent of vector inputs ``(T, B, m)``; None for tokens.
        entered: cotangents of the inputs ``(T, B, m)`` and of the initial state
            ``(B, n)`` of each walk.
        valid: ``(T, B)``, False on padding.
        loss: the loss of the batch.
    """

    walks: tuple[Walk, ...]
    lookups: tuple[Lookup, ...]
    inputs: Scaled | None
    entered: tuple[tuple[Scaled, Scaled], ...]
    valid: Bool[Array, "T B"]
    loss: Float[Array, ""]

    @property
    def encoder(self) -> Scaled:
        """∂L/∂x_t ``(T, B, m)``: of the vector inputs, or of the first embedding."""
        return self.lookups[0].use.delta if self.inputs is None else self.inputs


@dataclasses.dataclass(frozen=True)
class Forward:
    """A forward pass, from which backward passes for several losses can start.

    Attributes:
        segments: the model, cut at its recurrences.
        losses: maps the answers to the loss of each of them, ``(B,)`` or ``(T, B)``.
        value: the loss of the batch.
        valid: ``(T, B)``, False on padding.
        pointwise: whether nothing but the recurrences is known to mix steps or
            examples.
    """

    segments: Segments
    losses: Callable[[Any], Array]
    value: Array
    valid: Array
    pointwise: bool = False

    @property
    def walked(self) -> tuple[Walked, ...]:
        """The recurrences after their forward pass."""
        return tuple(site.walked for site in self.segments.sites if site.walked)


def trace(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec, *, lag: Lag
) -> Trace:
    """All adjoints and seams of one batch; pure, works under `jit`.

    Args:
        model: the model; dropout is off.
        params: its parameters.
        batch: the examples.
        spec: loss and readout of the task.
        lag: with `last` only the loss at the last loss step s of each example counts,
            and the adjoints are the lagged ones λ_t^{(s)}; with `total` the whole loss
            counts, and they are ∂L/∂h_t. Examples and steps are weighted as in the
            training loss, so that the contributions of `total` sum to the training
            gradient. For a loss at the last step only, the two are the same.
    """
    return backward(forward(model, params, batch, spec), loss_weights(spec, batch, lag))


def forward(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec
) -> Forward:
    """Forward pass of a `SequenceModel` that keeps what backward passes need."""

    def apply(params: Params, inputs: Array) -> Any:
        return model.apply({"params": params}, inputs, batch.lengths)

    return open_up(
        apply,
        params,
        batch.inputs,
        lambda answers: per_example(spec, answers, batch, by_margin)[0],
        lambda answers: objective(spec, answers, batch)[0],
        jnp.arange(batch.inputs.shape[0])[:, None] < batch.lengths[None, :],
        names=site_names(model),
        pointwise=True,
    )


def open_up(
    model: Apply | Program,
    params: Params,
    inputs: Array,
    losses: Callable[[Any], Array],
    loss: Callable[[Any], Array],
    valid: Bool[Array, "T B"],
    *,
    names: Mapping[str, str] | None = None,
    time_major: bool = True,
    pointwise: bool = False,
) -> Forward:
    """Forward pass of any Flax model; see `cut` and `Forward`.

    Args:
        loss: maps the answers to the loss of the batch.
        names: names of sites, by path; a site without one is named by its path.
        pointwise: True promises that nothing but the recurrences mixes steps or
            examples, which saves passes through the segments (see the module).

    Raises:
        UserError: the errors of `cut`, or a recurrence whose steps or examples differ
            in number from those of the inputs.
    """
    segments = cut(model, params, inputs, time_major=time_major)
    known = names or {}
    sites = []
    for site in segments.sites:
        name, walked = known.get(site.name, site.name), site.walked
        if walked is not None:
            walked = dataclasses.replace(walked, name=name)
            _check_shape(walked, valid)
        sites.append(dataclasses.replace(site, name=name, walked=walked))
    segments = dataclasses.replace(segments, sites=tuple(sites))
    return Forward(segments, losses, loss(segments.answers), valid, pointwise)


def backward(passed: Forward, weights: Array) -> Trace:
    """Backward pass through all recurrences.

    Args:
        passed: the forward pass.
        weights: weight of the loss of each answer, of the shape of `losses`; the loss
            that is differentiated is the weighted sum.
    """
    segments = passed.segments

    def loss(answers: Any) -> Array:
        return jnp.sum(passed.losses(answers) * weights)

    d_answers = jax.grad(loss, allow_int=True)(segments.answers)
    # The cotangent of a trajectory that the model does not return is a constant zero,
    # which XLA would fold through everything below at compile time.
    direct = lax.optimization_barrier(
        segments.pull(no_cotangent(segments.entered), d_answers)
    )
    leaves = lifted(direct, passed.losses(segments.answers), weights, passed.valid)
    at = [number for number, site in enumerate(segments.sites) if site.walked]
    walks: list[Walk] = []
    entered: list[tuple[Scaled, Scaled]] = []
    for order, number in reversed(list(enumerate(at))):
        walked = segments.sites[number].walked
        assert walked is not None
        back = walk_back(walked, leaves[number])
        walks.insert(0, back.walk)
        entered.insert(0, (back.inputs, back.initial))
        pass_on(segments, leaves, number, order, back, passed.pointwise)
    sites = list(zip(segments.sites, leaves, strict=True))
    lookups = tuple(
        Lookup(Use(site.tokens, leaf, site.name, "rows", False), site.table, site.name)
        for site, leaf in sites
        if site.tokens is not None and site.table is not None
    )
    inputs = next((leaf for site, leaf in sites if site.name == INPUT), None)
    return Trace(
        tuple(walks), lookups, inputs, tuple(entered), passed.valid, passed.value
    )


def _check_shape(walked: Walked, valid: Array) -> None:
    shape = jax.tree.leaves(walked.states)[0].shape[:2]
    if shape != valid.shape:
        raise UserError(
            f"the recurrence '{walked.name}' runs over {shape[0]} steps of {shape[1]} "
            f"examples, but the inputs have {valid.shape[0]} steps of {valid.shape[1]} "
            "examples; the probe needs the same steps everywhere (if the two are only "
            "swapped, see time_major)"
        )


def site_names(model: SequenceModel) -> dict[str, str]:
    """Names of a model's sites, keyed by path: `layer0`, `layer0.backward`, …"""
    names = {"embed": EMBEDDING}
    for layer in range(model.layers):
        for direction in range(2 if model.bidirectional else 1):
            path = f"stack_{layer}_{direction}"
            names[path] = layer_name(layer, direction == 1)
    return names


def layer_name(layer: int, backwards: bool) -> str:
    """`layer0`, or `layer0.backward` for the backward direction."""
    return f"layer{layer}" + (".backward" if backwards else "")


def loss_weights(spec: TaskSpec, batch: Batch, lag: Lag) -> Float[Array, "*T B"]:
    """Weights with which the losses of the answers sum to the training loss.

    ``(B,)`` for a readout at the last step, else ``(T, B)``; with lag `last` all are
    zero except at the last loss step of each example.
    """
    if spec.readout == "last":
        return jnp.full((batch.mask.shape[1],), 1.0 / batch.mask.shape[1])
    total = jnp.sum(mask := loss_mask(batch))
    weights = mask / jnp.where(total > 0, total, jnp.ones_like(total))
    if lag == "total":
        return weights
    steps = jnp.arange(batch.mask.shape[0])[:, None]
    return jnp.where(steps == last_loss_step(spec, batch)[None], weights, 0.0)


def sampled_norms(
    passed: Forward, weights: Float[Array, "T B"], steps: Int[Array, "S"]
) -> dict[str, Float[Array, "S arrays T B"]]:
    """log10 ‖λ_t^{(s)}‖ for several loss steps s, keyed by recurrence.

    Rows as in `log10_norms`; −inf for t > s and for an example without a loss at s.
    Costs one backward pass for each s, run one after the other.

    Args:
        passed: the forward pass of a model that answers at every step.
        weights: weight of the loss of each answer (`loss_weights`, lag `total`).
        steps: the steps s, the same for all examples; may be traced.
    """
    time = jnp.arange(passed.valid.shape[0])[:, None]

    def one(step: Array) -> dict[str, Array]:
        seen = backward(passed, jnp.where(time == step, weights, 0.0))
        return {walk.name: log10_norms(walk, seen.valid) for walk in seen.walks}

    return lax.map(one, steps)


def last_loss_step(spec: TaskSpec, batch: Batch) -> Int[Array, "B"]:
    """The step s from which lags s − t are counted; −1 if an example has no loss."""
    if spec.readout == "last":
        return batch.lengths - 1
    mask = loss_mask(batch)
    return jnp.max(jnp.where(mask > 0, jnp.arange(len(mask))[:, None], -1), axis=0)
