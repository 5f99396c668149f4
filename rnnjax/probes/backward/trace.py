"""One pass forward and one pass back through a model, with every cotangent kept.

Adjoints are carried as mantissa × 2^k with one exponent per step and example. Between
two recurrences such a pair passes through ordinary autodiff unharmed, if each step of
each example depends on itself alone there (a concatenation of directions, a dense
layer, a normalisation over units, a residual connection): the map is linear in its
cotangent, so that the mantissa goes through while the exponent stays as it is. Only the
recurrence mixes steps, and the reverse scan minds the exponents itself. That is so in
our own models, which are opened with `pointwise=True`.

A user's model may mix steps or examples there (attention, a convolution over time, a
reversal, batch normalisation). Its cotangents go through in bands of exponents, one
after the other: within a band one exponent serves all, and what arrives is added up
with exponents. This is right for every model, and gives the same numbers as the above
where nothing mixes.
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
    """An embedding: rows of `table` picked by tokens; `use.delta` is the cotangent of
    what it gave out."""

    use: Use
    table: Array
    name: str = struct.field(pytree_node=False)


@struct.dataclass
class Trace:
    """What one pass forward and back through a model yields.

    Attributes:
        walks: in the order in which the model calls its recurrences.
        lookups: its embeddings.
        inputs: cotangent of vector inputs ``(T, B, m)``, None for tokens.
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
    """A pass forward, from which one may go back for several losses.

    Attributes:
        segments: the model, cut at its recurrences.
        losses: from the answers to the loss of each of them, ``(B,)`` or ``(T, B)``.
        value: the loss of the batch.
        valid: ``(T, B)``, False on padding.
        pointwise: whether it is known that nothing but the recurrences mixes steps or
            examples.
    """

    segments: Segments
    losses: Callable[[Any], Array]
    value: Array
    valid: Array
    pointwise: bool = False

    @property
    def walked(self) -> tuple[Walked, ...]:
        """The recurrences, walked forward."""
        return tuple(site.walked for site in self.segments.sites if site.walked)


def trace(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec, *, lag: Lag
) -> Trace:
    """Every adjoint and every seam of one batch; pure, works under `jit`.

    Args:
        model: the model; dropout is off.
        params: its parameters.
        batch: the examples.
        spec: loss and readout of the task.
        lag: `last` keeps, for each example, the loss of its last loss step s alone, and
            the adjoints are the lagged ones λ_t^{(s)}; `total` keeps all of the loss,
            and they are ∂L/∂h_t. In both, examples and steps weigh as in the training
            loss, so that contributions of `total` add up to the training gradient.
            For a loss at the last step alone the two are the same.
    """
    return backward(forward(model, params, batch, spec), loss_weights(spec, batch, lag))


def forward(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec
) -> Forward:
    """Walk through a model of ours and keep what the way back needs."""

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
    apply: Apply,
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
    """The same for any Flax model; see `cut` and `Forward`.

    Args:
        loss: from the answers to the loss of the batch.
        names: of sites, by path; others go by their path.
        pointwise: True promises that nothing but the recurrences mixes steps or
            examples, which saves passes through the segments; see above.

    Raises:
        UserError: what `cut` refuses, or a recurrence over other steps or examples than
            the inputs have.
    """
    segments = cut(apply, params, inputs, time_major=time_major)
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
    """Go back through all recurrences.

    Args:
        passed: the pass forward.
        weights: of the loss of each answer, as `losses` are shaped; the loss that is
            differentiated is their weighted sum.
    """
    segments = passed.segments

    def loss(answers: Any) -> Array:
        return jnp.sum(passed.losses(answers) * weights)

    d_answers = jax.grad(loss, allow_int=True)(segments.answers)
    # zeros of trajectories that the model does not show are constants, which XLA would
    # fold through all that follows while it compiles
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
            f"examples, the inputs have {valid.shape[0]} steps of {valid.shape[1]}: "
            "the probe needs the same steps everywhere (see time_major if the two are "
            "only the other way round)"
        )


def site_names(model: SequenceModel) -> dict[str, str]:
    """Names of a model's sites by their path: `layer0`, `layer0.backward`, …"""
    names = {"embed": EMBEDDING}
    for layer in range(model.layers):
        for direction in range(2 if model.bidirectional else 1):
            path = f"stack_{layer}_{direction}"
            names[path] = layer_name(layer, direction == 1)
    return names


def layer_name(layer: int, backwards: bool) -> str:
    """`layer0`, or `layer0.backward` for the walk from the end."""
    return f"layer{layer}" + (".backward" if backwards else "")


def loss_weights(spec: TaskSpec, batch: Batch, lag: Lag) -> Float[Array, "*T B"]:
    """Weight of each answer's loss: the training loss is their weighted sum.

    ``(B,)`` for a readout at the last step, else ``(T, B)``; with lag `last` zero but
    at the last loss step of each example.
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
    """log10 ‖λ_t^{(s)}‖ for several loss steps s, by name of the recurrence.

    Rows as `log10_norms`; −inf for t > s, and for an example without a loss at s. Costs
    one walk back for each s, one after the other.

    Args:
        passed: the pass forward of a model that answers at every step.
        weights: of the loss of each answer (`loss_weights`, lag `total`).
        steps: the steps s, the same for all examples; may be traced.
    """
    time = jnp.arange(passed.valid.shape[0])[:, None]

    def one(step: Array) -> dict[str, Array]:
        seen = backward(passed, jnp.where(time == step, weights, 0.0))
        return {walk.name: log10_norms(walk, seen.valid) for walk in seen.walks}

    return lax.map(one, steps)


def last_loss_step(spec: TaskSpec, batch: Batch) -> Int[Array, "B"]:
    """The step s from which lags s − t are counted; −1 for an example without one."""
    if spec.readout == "last":
        return batch.lengths - 1
    mask = loss_mask(batch)
    return jnp.max(jnp.where(mask > 0, jnp.arange(len(mask))[:, None], -1), axis=0)
