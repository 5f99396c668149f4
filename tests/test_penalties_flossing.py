"""Gradient flossing against NumPy in double precision, and in updates."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.errors import UserError
from rnnjax.models.sequence import SequenceModel
from rnnjax.penalties import Flossing, NoPenalty
from rnnjax.penalties.flossing import SETTLE, flossing
from rnnjax.training.build import build_hyper, build_task, initial_params, signature
from rnnjax.training.keys import TRAIN_DATA, key_for
from rnnjax.training.program import Program
from tests.launch_samples import jobs
from tests.recurrence_samples import quick_jit
from tests.training_samples import tiny


T, M, N, K = 9, 2, 4, 3


def jacobians(name: str, params: Any, x: Any) -> list[np.ndarray]:
    """J_t of the joint state along a sequence (T, m), from the cell's equations."""
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    p: Any = params
    h, c, found = np.zeros(N), np.zeros(N), []
    if name == "elman":
        for v in x:
            h = np.tanh(h @ p["U"] + v @ p["V"] + p["b"])
            found.append((1 - h**2)[:, None] * p["U"].T)
        return found

    def step(h, c, v):
        i, f, g, o = np.split(v @ p["V"] + h @ p["U"] + p["b"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    for v in x:
        whole, columns = np.concatenate([h, c]), []
        for e in np.eye(2 * N):
            near = [whole + s * e for s in (1e-6, -1e-6)]
            ends = [step(z[:N], z[N:], v) for z in near]
            columns.append(np.concatenate(ends[0]) - np.concatenate(ends[1]))
        found.append(np.stack(columns, 1) / 2e-6)
        h, c = step(h, c, v)
    return found


@pytest.mark.parametrize("name", ["elman", "lstm"])
def test_value_and_gradient_against_numpy(name):
    cell = CELLS[name](inputs=0, features=N).clone(param_dtype=jnp.float64)
    with jax.enable_x64(True):
        model = SequenceModel(cell, output_size=2, input_size=M, bidirectional=True)
        x = jax.random.normal(jax.random.key(1), (T, 1, M), jnp.float64)
        params = model.init(jax.random.key(0), x)["params"]
        get = quick_jit(jax.value_and_grad(lambda p: flossing(model, p, x, K)))
        value, gradient = jax.device_get(get(params))
        size = N if name == "elman" else 2 * N
        drawn = jax.random.normal(jax.random.key(0), (size, K), jnp.float64)
    first = np.linalg.qr(np.asarray(drawn))[0]
    params = jax.device_get(params)

    def penalty(params: Any) -> float:
        total = 0.0
        for walk, order in (("stack_0_0", 1), ("stack_0_1", -1)):
            q, logs = first, []
            inputs = np.asarray(x)[::order, 0]
            for J in jacobians(name, params[walk]["cell"], inputs):
                q, r = np.linalg.qr(J @ q)
                logs.append(np.log(np.abs(np.diag(r))))
            total += np.mean(np.mean(logs[T // SETTLE :], axis=0) ** 2) / 2
        return total

    np.testing.assert_allclose(value, penalty(params), rtol=1e-7)
    random = np.random.default_rng(0)
    direction = jax.tree.map(lambda p: random.standard_normal(p.shape), params)
    moved = lambda s: jax.tree.map(lambda p, d: p + s * d, params, direction)
    slope = (penalty(moved(1e-5)) - penalty(moved(-1e-5))) / 2e-5
    inner = sum(jax.tree.leaves(jax.tree.map(np.vdot, gradient, direction)))
    np.testing.assert_allclose(inner, slope, rtol=1e-4)
    assert not np.any(gradient["head"]["kernel"])


def test_padding_does_not_count_as_time_to_settle():
    """A quarter of the valid steps is left out, however long the padding is."""
    valid = 5
    cell = CELLS["elman"](inputs=0, features=N).clone(param_dtype=jnp.float64)
    with jax.enable_x64(True):
        model = SequenceModel(cell, output_size=2, input_size=M, bidirectional=True)
        x = jax.random.normal(jax.random.key(1), (2 * T, 1, M), jnp.float64)
        params = model.init(jax.random.key(0), x)["params"]
        alone = quick_jit(lambda p: flossing(model, p, x[:valid], K))(params)
        ends = jnp.array([valid])
        padded = quick_jit(lambda p: flossing(model, p, x, K, ends))(params)
    assert (2 * T) // SETTLE > valid // SETTLE
    np.testing.assert_allclose(padded, alone, rtol=1e-12)


def test_too_many_exponents_are_refused():
    cell = CELLS["elman"](inputs=0, features=N)
    model = SequenceModel(cell, output_size=2, input_size=M)
    x = jnp.zeros((T, 1, M))
    params = model.init(jax.random.key(0), x)["params"]
    with pytest.raises(UserError, match="exponents=5 is not between 1 and 4"):
        flossing(model, params, x, 5)
    with pytest.raises(UserError, match="penalty.exponents needs a value"):
        jobs("penalty=flossing")
    with pytest.raises(UserError, match="stop_step=3 is out of range: at least 4"):
        Flossing(2, pretrain_steps=4, stop_step=3).check()


def test_updates_floss_alone_then_both_then_neither():
    flossed = Flossing(2, 0.5, window=4, pretrain_steps=2, stop_step=4)
    config = tiny(penalty=flossed)
    task, data = build_task(config.task, config.task_options)
    without = dataclasses.replace(config, penalty=NoPenalty())
    plain, plain_hyper = Program(signature(without)), build_hyper(without)
    program, hyper = Program(signature(config)), build_hyper(config)
    params = initial_params(config)

    @quick_jit
    def found(step: Any) -> Any:
        batch = task.sample(key_for(hyper, TRAIN_DATA, step), config.batch, data)
        penalty = lambda p: flossing(plain.model(hyper), p, batch.inputs[:4, :1], 2)
        return (
            program._gradient(params, hyper, step, data)[2],
            plain._gradient(params, plain_hyper, step, data)[2],
            jax.grad(penalty)(params),
        )

    for step, loss, floss in ((0, 0, 1), (1, 0, 1), (2, 1, 1), (3, 1, 1), (4, 1, 0)):
        mixed, g, d = jax.device_get(found(jnp.int32(step)))
        for a, b, c in zip(*map(jax.tree.leaves, (mixed, g, d)), strict=True):
            together = loss * b + floss * 0.5 * c
            np.testing.assert_allclose(a, together, rtol=1e-5, atol=1e-7)
