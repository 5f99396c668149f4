"""Small models, batches and a brute-force reference for the tests of the probes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import CELLS
from rnnjax.models.objective import per_example
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import Trace
from rnnjax.probes.backward.walk import first_state
from rnnjax.recurrence.functional import call
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch


VOCABULARY, CLASSES = 5, 2


def spec_of(readout: str, length: int, vocabulary: int | None = VOCABULARY) -> TaskSpec:
    return TaskSpec(
        length=length,
        vocabulary=vocabulary,
        input_size=1,
        output_size=CLASSES,
        loss="cross_entropy",
        readout=readout,  # type: ignore[arg-type]
        metric="accuracy",
        baseline=0.5,
        baseline_loss=0.69,
        solved=0.9,
    )


def batch_of(readout: str, length: int, lengths: list[int], seed: int = 0) -> Batch:
    """Random tokens; a loss at every step leaves out some steps, and some last ones."""
    random = np.random.default_rng(seed)
    size = len(lengths)
    steps = np.arange(length)[:, None]
    if readout == "last":
        mask = (steps == np.array(lengths) - 1).astype(float)
        targets = random.integers(0, CLASSES, size)
    else:
        mask = (steps < np.array(lengths)) * (random.random((length, size)) < 0.7)
        mask[:2] = steps[:2] < np.array(lengths)
        mask[length - 1, 0] = 0.0
        targets = random.integers(0, CLASSES, (length, size))
    return Batch(
        inputs=jnp.asarray(random.integers(0, VOCABULARY, (length, size)), jnp.int32),
        targets=jnp.asarray(targets, jnp.int32),
        mask=jnp.asarray(mask, jnp.zeros(()).dtype),
        lengths=jnp.asarray(lengths, jnp.int32),
        informative=jnp.asarray(steps == 0) & jnp.ones((1, size), bool),
    )


def model_of(cell: str, features: int = 4, dtype: Any = jnp.float32, **fields: Any):
    options: dict[str, Any] = {"output_size": CLASSES, "vocabulary": VOCABULARY}
    made = CELLS[cell](inputs=1, features=features, param_dtype=dtype)
    return SequenceModel(made, **{**options, "embedding": 3, **fields})


def parameters(model: SequenceModel, batch: Batch, seed: int = 0) -> Any:
    """Parameters away from zero, so that no gradient vanishes by chance."""
    start = jax.jit(model.init)(jax.random.key(seed), batch.inputs, batch.lengths)
    random = np.random.default_rng(seed)

    def moved(x: Any) -> Any:
        return x + 0.1 * jnp.asarray(random.standard_normal(x.shape), x.dtype)

    return jax.tree.map(moved, start["params"])


def brute_force(
    model: SequenceModel, spec: TaskSpec, params: Any, batch: Batch, seen: Trace
) -> dict[str, Any]:
    """Adjoints and contributions by autodiff of an unrolled loop, no scan in it.

    Every state is perturbed additively and every step has a kernel copy of its own.
    By lag, `last` and `total`.
    """
    steps, size = batch.inputs.shape
    bound = model.bind({"params": params})
    total = last = np.full((size,), 1 / size)
    if spec.readout == "every":
        mask = np.asarray(batch.mask)
        total = mask / mask.sum()
        last = total.copy()
        for b in range(size):
            last[: np.flatnonzero(mask[:, b])[-1], b] = 0.0

    def copy(x: Any) -> Any:
        return jnp.broadcast_to(x[None], (steps, *x.shape))

    moves = {w.name: jax.tree.map(jnp.zeros_like, w.states) for w in seen.walks}
    copies = {w.name: jax.tree.map(copy, dict(w.kernels)) for w in seen.walks}
    tables = copy(params["embed"]["embedding"])

    def walk(recurrent: Any, name: str, x: list[Any], moved: Any, copied: Any):
        cell, weights = recurrent.weights()
        state = first_state(recurrent, size)
        outputs: list[Any] = [None] * steps
        for t in reversed(range(steps)) if recurrent.backwards else range(steps):
            own = {k: v[t] for k, v in copied[name].items()}
            w = dataclasses.replace(weights, kernels={**weights.kernels, **own})
            valid = (t < batch.lengths)[:, None]
            drive = call(cell, w, "readin", x[t])[0]
            new = call(cell, w, "step", state, drive)[0]
            state = jax.tree.map(lambda a, b, v=valid: jnp.where(v, a, b), new, state)
            move = jax.tree.map(lambda p, t=t: p[t], moved[name])
            state = jax.tree.map(jnp.add, state, move)
            out = call(cell, w, "readout", state, drive)[0]
            outputs[t] = jnp.where(valid, out, 0.0)
        return outputs

    def loss(moved: Any, copied: Any, tables: Any, kept: Any) -> Any:
        x: list[Any] = [tables[t][batch.inputs[t]] for t in range(steps)]
        for layer, walks in enumerate(bound.stack):
            names = [f"layer{layer}", f"layer{layer}.backward"][: len(walks)]
            pairs = zip(walks, names, strict=True)
            outs = [walk(each, name, x, moved, copied) for each, name in pairs]
            x = [jnp.concatenate(parts, axis=-1) for parts in zip(*outs, strict=True)]
        answers = bound.decode(jnp.stack(x), batch.lengths)
        return jnp.sum(per_example(spec, answers, batch)[0] * kept)

    both = jnp.asarray(np.stack([last, total]), jnp.zeros(()).dtype)
    gradient = jax.vmap(jax.grad(loss, (0, 1, 2)), in_axes=(None, None, None, 0))
    adjoints, kernels, rows = jax.jit(gradient)(moves, copies, tables, both)
    steps_of = {f"{n}/{k}": g for n, some in kernels.items() for k, g in some.items()}
    found = {"adjoint": adjoints, "gradient": {"embedding": rows, **steps_of}}
    return {
        lag: jax.tree.map(lambda x, row=row: x[row], found)
        for row, lag in enumerate(("last", "total"))
    }
