"""Behind the end of an example nothing is read: inputs, tokens, targets and masks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.models.objective import objective, per_example
from rnnjax.penalties import Flossing, OmegaPenalty, Penalty
from rnnjax.probes.backward.trace import last_loss_step
from rnnjax.probes.measure import measure
from rnnjax.tasks.base import Task
from rnnjax.training.build import build_hyper, signature
from rnnjax.training.evaluation import evaluate
from rnnjax.training.program import Program
from rnnjax.types import Batch
from tests.probe_models import batch_of, model_of, parameters, spec_of
from tests.recurrence_samples import normwise, quick_jit
from tests.training_samples import tiny


STEPS, LENGTHS = 4, [4, 2]
PADDED = np.arange(STEPS)[:, None] >= np.array(LENGTHS)


def rubbish(batch: Batch, token: int, number: float) -> Batch:
    """The same examples with other things behind their ends."""

    def put(x: Any, value: Any) -> Any:
        where = np.reshape(PADDED, PADDED.shape + (1,) * (x.ndim - 2))
        return jnp.where(where, jnp.asarray(value, x.dtype), x)

    every = batch.targets.ndim > 1
    return batch.replace(  # type: ignore[attr-defined]
        inputs=put(batch.inputs, token),
        targets=put(batch.targets, token) if every else batch.targets,
        mask=put(batch.mask, number),
    )


def same(found: Any, other: Any) -> None:
    for a, b in zip(*map(jax.tree.leaves, (found, other)), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    "readout", ["every", pytest.param("last", marks=pytest.mark.slow)]
)
def test_a_model_reads_nothing_behind_the_end(readout: str, x64: None) -> None:
    """Its loss, gradient, held-out figures and probes; against example by example."""
    batch, spec = batch_of(readout, STEPS, LENGTHS), spec_of(readout, STEPS)
    fields: Any = {"readout": readout, "bidirectional": True}
    model = model_of("elman", dtype=jnp.float64, **fields)
    params = parameters(model, batch)

    @quick_jit
    def run(params: Any, batch: Batch) -> Any:
        def loss(params: Any) -> Any:
            answers: Any = model.apply({"params": params}, batch.inputs, batch.lengths)
            return objective(spec, answers, batch)

        return (
            jax.value_and_grad(loss, has_aux=True)(params),
            evaluate(model, spec, params, batch),
            measure(model, spec, params, batch, 1),
            last_loss_step(spec, batch),
        )

    found = run(params, rubbish(batch, 0, 0.0))
    for token, number in ((-7, np.nan), (10**9, 1e30)):
        same(found, run(params, rubbish(batch, token, number)))

    @quick_jit
    def alone(params: Any, batch: Batch) -> Any:
        def loss(params: Any) -> Any:
            total, weight = 0.0, 0.0
            for b, n in enumerate(LENGTHS):
                answers: Any = model.clone(engine="plain").apply(
                    {"params": params}, batch.inputs[:n, b : b + 1]
                )
                own = jax.tree.map(lambda a, b=b: a[..., b : b + 1], batch)
                mask = jnp.ones((1,))
                if readout == "every":
                    own = own.replace(targets=own.targets[:n], mask=own.mask[:n])
                    mask = own.mask
                total += jnp.sum(per_example(spec, answers, own)[0] * mask)
                weight += jnp.sum(mask)
            return total / weight

        return jax.value_and_grad(loss)(params)

    (value, _), gradient = found[0]
    assert normwise((value, gradient), alone(params, batch)) < 1e-12


@dataclasses.dataclass(frozen=True)
class Ragged(Task):
    """Vectors with a loss at every step; `data` says what stands behind the end."""

    def sample(self, key: Any, batch: int, data: Any) -> Batch:
        drawn = jax.random.normal(key, (2, STEPS, batch, 1))
        x, y = jnp.where(PADDED[None, ..., None], data["fill"], drawn)
        mask = jnp.where(PADDED, data["fill"], 1.0)
        return Batch(x, y, mask, jnp.array(LENGTHS, jnp.int32), jnp.asarray(~PADDED))


@pytest.mark.parametrize(
    "penalty",
    [
        OmegaPenalty(0.5),
        Flossing(2, 0.5),
        pytest.param(
            Flossing(2, 0.5, window=4),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_update_reads_nothing_behind_the_end(penalty: Penalty) -> None:
    """The gradient of loss and penalty in shards, and the light probe's cotangents."""
    config = tiny("elman", "light", penalty=penalty, batch=2, shards=2)
    made = signature(config)
    fields: Any = {"vocabulary": None, "output_size": 1, "loss": "squared_error"}
    fields |= {"length": STEPS, "ragged": True}
    spec = dataclasses.replace(made.spec, readout="every", **fields)
    static = made.model.clone(vocabulary=None, input_size=1, output_size=1)
    static = static.clone(readout="every")
    program = Program(dataclasses.replace(made, task=Ragged(), spec=spec, model=static))
    hyper = build_hyper(config)
    params = static.init(jax.random.key(0), jnp.ones((1, 1, 1)))["params"]

    @quick_jit
    def run(fill: Any) -> Any:
        return program._gradient(params, hyper, 3, {"fill": fill})

    found = run(0.0)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))
    same(found, run(jnp.nan))
    same(found, run(1e30))
