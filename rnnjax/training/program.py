"""The training program: pure functions of (state, hyper-parameters, data).

The compiled code depends only on the static `Signature`; learning rate, thresholds,
seed and the cell's numeric fields are arrays. Random numbers are a function of (seed,
purpose, step), so two runs that differ in their cell or learning rate see the same
data.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from rnnjax.clipping import clip, global_norm
from rnnjax.models.objective import objective
from rnnjax.models.sequence import SequenceModel
from rnnjax.penalties import Penalty
from rnnjax.probes import light
from rnnjax.probes.measure import Measurement, measure
from rnnjax.probes.updates.monitor import update_ratio
from rnnjax.recurrence.backprop_rules import SHAM
from rnnjax.tasks.base import Data, Task, TaskSpec
from rnnjax.tasks.twins import training_batch
from rnnjax.training.evaluation import evaluate
from rnnjax.training.flat import Form, takes_vectors
from rnnjax.training.hyper import Hyper, with_numbers
from rnnjax.training.keys import DROPOUT, TRAIN_DATA, key_for
from rnnjax.training.optimizers import Optimizer
from rnnjax.training.schedules import factor
from rnnjax.training.shards import (
    each_shard,
    joined,
    shares,
    split_batch,
    total,
)
from rnnjax.training.state import Meter, TrainState, Until, empty_meter
from rnnjax.types import Batch


@dataclasses.dataclass(frozen=True)
class Signature:
    """What the compiled code depends on; runs with equal signatures share the code.

    Attributes:
        model: the model with default initialisers and numeric fields, without a lag.
        task: the task record.
        spec: the specification of the task.
        optimizer, penalty: the rules with default numbers.
        clipping: the kind of clipping.
        batch: examples per update.
        pairs: whether half of the batch are the twins of the other half.
        shards: number of equal parts of the batch.
        ride: whether a light probe is computed in the backward pass.
        sentences: number of examples whose shares a full probe stores individually.
    """

    model: SequenceModel
    task: Task
    spec: TaskSpec
    optimizer: Optimizer
    clipping: str
    penalty: Penalty
    batch: int
    pairs: bool
    shards: int
    ride: bool
    sentences: int


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled side of a run, as pure functions.

    Attributes:
        signature: the signature on which the functions depend.
        spread: whether each shard of a batch is on a device of its own.
    """

    signature: Signature
    spread: bool = False

    def model(self, hyper: Hyper) -> SequenceModel:
        """The model with the numbers of a run."""
        return with_numbers(self.signature.model, hyper)

    def optimizer(self, hyper: Hyper) -> Optimizer:
        """The update rule with its numbers filled in."""
        return self.signature.optimizer.with_numbers(hyper.optimizer)

    def empty_ride(self, params: Any, hyper: Hyper, data: Data) -> Any:
        """Zeros with the structure of the light probe's norms, same for all runs."""
        if not self.signature.ride:
            return ()
        model, anywhere = self.model(hyper), Program(self.signature)
        shapes = jax.eval_shape(
            lambda: light.norms(model, anywhere._gradient(params, hyper, 0, data)[3])
        )
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def start(self, params: Any, hyper: Hyper, ride: Any = ()) -> TrainState:
        """The state before the first update; `ride` from `empty_ride`."""
        rule = self.optimizer(hyper).transformation(hyper.lr)
        return TrainState(
            params=params,
            opt_state=rule.init(params),
            step=jnp.zeros((), jnp.int32),
            alive=jnp.ones((), bool),
            diverged_at=jnp.full((), -1, jnp.int32),
            meter=empty_meter(),
            ride=ride,
        )

    def chunk(
        self, state: TrainState, hyper: Hyper, until: Until, data: Data
    ) -> TrainState:
        """Updates until `until.stop`, or until the run diverges."""
        choose = lambda new, old: jnp.where(until.fresh, new, old)
        fresh = jax.tree.map(choose, empty_meter(), state.meter)
        form = Form.of(state.params)

        def going(state: TrainState) -> Array:
            return (state.step < until.stop) & state.alive

        out = lax.while_loop(
            going,
            lambda s: self._update(s, form, hyper, until, data),
            dataclasses.replace(
                state,
                params=form.join(state.params),
                opt_state=self._joined(form, hyper, state.opt_state),
                meter=fresh,
            ),
        )
        return dataclasses.replace(
            out,
            params=form.split(out.params),
            opt_state=form.split_within(out.opt_state),
        )

    def _joined(self, form: Form, hyper: Hyper, opt_state: Any) -> Any:
        """The state of the optimizer with vectors for arrays, if it can be so."""
        joined = form.join_within(opt_state)
        optimizer = self.optimizer(hyper)
        return joined if takes_vectors(optimizer, form, hyper, joined) else opt_state

    def _gradient(
        self, params: Any, hyper: Hyper, step: Any, data: Data
    ) -> tuple[Array, Array, Any, Any]:
        """Loss, metric, gradient and gradient of the taps, for the update at `step`.

        The gradient includes the penalty.
        """
        sig, key = self.signature, key_for(hyper, TRAIN_DATA, step)
        size, pairs = sig.batch, sig.pairs
        batch = training_batch(sig.task, sig.spec, key, size, data, pairs)
        key, model = key_for(hyper, DROPOUT, step), self.model(hyper)
        loss, metric, gradient, tapped, sums = self._shards(params, hyper, key, batch)
        penalty = sig.penalty.with_numbers(hyper.penalty)
        gradient = penalty.added(gradient, step, model, params, batch, sums)
        return loss, metric, gradient, tapped

    def _shards(
        self, params: Any, hyper: Hyper, key: Any, batch: Batch
    ) -> tuple[Array, Array, Any, Any, Any]:
        """`_gradient_of`, summed over the shards of the batch."""
        sig = self.signature
        if sig.shards == 1:
            return self._gradient_of(params, hyper, key, batch)
        parts = split_batch(sig.spec, batch, sig.shards)
        keys = jax.random.split(key, sig.shards)

        def weighted(shard: Any) -> Any:
            key, part, share = shard
            return self._gradient_of(params, hyper, key, part, share)

        every = keys, parts, shares(sig.spec, parts).T
        loss, metric, gradient, tapped, sums = each_shard(weighted, every, self.spread)
        loss, metric, gradient, sums = total((loss, metric, gradient, sums))
        return loss, metric, gradient, jax.tree.map(joined, tapped), sums

    def _gradient_of(
        self, params: Any, hyper: Hyper, key: Any, batch: Batch, share: Any = None
    ) -> tuple[Array, Array, Any, Any, Any]:
        """Loss, metric, gradient of the loss, gradient of the taps, penalty sums.

        For a shard, loss and metric are multiplied by its share in their means.
        """
        sig, model = self.signature, self.model(hyper)
        penalised = sig.penalty.reads_adjoints
        tapping = sig.ride or penalised

        def loss_of(params: Any, taps: Any) -> tuple[Array, tuple[Array, Any]]:
            variables = {"params": params} | ({"taps": taps} if tapping else {})
            rngs = {"dropout": key} if model.dropout else {}
            rngs |= {SHAM: key} if model.backprop == SHAM else {}
            ends = batch.lengths if sig.spec.ragged else None
            entering = variables, batch.inputs, ends
            answers: Any
            entered: Any = {}
            if penalised:
                answers, sown = model.apply(
                    *entering, train=True, rngs=rngs, mutable=["layers"]
                )
                entered = dict(sown["layers"])
            else:
                answers = model.apply(*entering, train=True, rngs=rngs)
            loss, metric = objective(sig.spec, answers, batch)
            if share is not None:
                loss, metric = loss * share[0], metric * share[1]
            return loss, (metric, entered)

        taps = light.zero_taps(model, params, batch) if tapping else {}
        wanted = (0, 1) if tapping else (0,)
        (loss, (metric, entered)), gradients = jax.value_and_grad(
            loss_of, wanted, has_aux=True
        )(params, taps)
        sums: Any = ()
        if penalised:
            pull = sig.penalty.of_shard
            sums = pull(model, params, batch.lengths, entered, gradients[1])
        return loss, metric, gradients[0], gradients[1] if sig.ride else (), sums

    def _changes(
        self, form: Form, hyper: Hyper, state: TrainState, gradient: Any
    ) -> tuple[Any, Any]:
        """What the optimizer adds to the parameters, and its new state."""
        optimizer = self.optimizer(hyper)
        rule = optimizer.transformation(hyper.lr * factor(hyper.rate, state.step))
        if takes_vectors(optimizer, form, hyper, state.opt_state):
            return rule.update(gradient, state.opt_state, state.params)
        trees = form.split(gradient), state.opt_state, form.split(state.params)
        updates, opt_state = rule.update(*trees)
        return form.join(updates), opt_state

    def _update(
        self, state: TrainState, form: Form, hyper: Hyper, until: Until, data: Data
    ) -> TrainState:
        """One update of a state whose parameters are vectors."""
        sig = self.signature
        loss, metric, gradient, tapped = self._gradient(
            form.split(state.params), hyper, state.step, data
        )
        gradient = form.join(gradient)
        norm = global_norm(gradient)
        used = clip(sig.clipping, hyper.threshold, gradient)
        updates, opt_state = self._changes(form, hyper, state, used)
        params = optax.apply_updates(state.params, updates)
        finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params)]
        sound = jnp.stack([*finite, jnp.isfinite(loss), loss <= hyper.loss_bound]).all()
        meter = Meter(
            state.meter.count + 1,
            state.meter.loss + loss,
            state.meter.metric + metric,
            state.meter.grad_norm + norm,
            jnp.maximum(state.meter.grad_norm_max, norm),
            state.meter.clipped + (norm > hyper.threshold).astype(float),
            state.meter.update_ratio + update_ratio(updates, state.params),
        )

        ride: Any = ()
        if sig.ride:
            # norms need a pass over all cotangents, so compute them only on demand
            norms = lambda tapped, _: light.norms(self.model(hyper), tapped)
            riding = state.step == until.ride_at
            ride = lax.cond(riding, norms, lambda _, ride: ride, tapped, state.ride)

        keep = partial(jax.tree.map, lambda a, b: jnp.where(sound, a, b))
        return TrainState(
            params=keep(params, state.params),
            opt_state=keep(opt_state, state.opt_state),
            step=state.step + sound.astype(jnp.int32),
            alive=sound,
            diverged_at=jnp.where(sound, -1, state.step + 1),
            meter=meter,
            ride=ride,
        )

    def evaluate(
        self, params: Any, hyper: Hyper, batch: Batch
    ) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, "B"]]:
        """Evaluate on held-out examples, see `rnnjax.training.evaluation`."""
        return evaluate(self.model(hyper), self.signature.spec, params, batch)

    def probe(self, params: Any, hyper: Hyper, batch: Batch) -> Measurement:
        """Make the full probe's measurement on a held-out batch."""
        sig = self.signature
        return measure(self.model(hyper), sig.spec, params, batch, sig.sentences)
