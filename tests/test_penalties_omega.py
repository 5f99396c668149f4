"""Pascanu's Ω against NumPy in double precision, for any cell, and in an update."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.cells.elman import Elman
from rnnjax.errors import UserError
from rnnjax.models.sequence import SequenceModel
from rnnjax.penalties.omega import OmegaPenalty, omega
from rnnjax.probes import light
from rnnjax.recurrence.functional import call, make_weights
from rnnjax.recurrence.masking import in_order
from rnnjax.training.build import build_hyper, initial_params, signature
from rnnjax.training.config import ClippingConfig
from rnnjax.training.optimizers import SGD
from rnnjax.training.program import Program
from rnnjax.types import Batch
from tests.recurrence_samples import Plain, quick_jit
from tests.training_samples import tiny, train


T, B, M, N = 6, 3, 2, 4
LENGTHS = np.array([6, 0, 4], np.int32)


def setting(cell: Any, dtype: Any, weight: float = 1.0, **fields: Any) -> Any:
    """A model, its parameters, an input, and the loss of its answers."""
    model = SequenceModel(cell, output_size=2, input_size=M, **fields)
    x = jax.random.normal(jax.random.key(1), (T, B, M), dtype)
    params = model.init(jax.random.key(0), x)["params"]
    # biases other than zero
    params = jax.tree.map(
        lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape, dtype),
        params,
    )
    return model, params, x, lambda answers: weight * jnp.sum(answers**2)


def found(model: Any, params: Any, x: Any, loss: Any) -> tuple[Any, Any, Any]:
    """Ω, the trajectories and the adjoints of a batch, as the training program does."""

    lengths = jnp.asarray(LENGTHS)

    @quick_jit
    def both(params: Any, x: Any) -> Any:
        taps = light.zero_taps(model, params, Batch(x, *(None,) * 4))  # type: ignore

        def value(taps: Any) -> Any:
            variables = {"params": params, "taps": taps}
            answers, sown = model.apply(variables, x, lengths, mutable=["layers"])
            return loss(answers), dict(sown["layers"])

        gradient, entered = jax.grad(value, has_aux=True)(taps)
        return omega(model, params, lengths, entered, gradient), entered, gradient

    return both(params, x)


def test_an_elman_network_against_the_formula():
    """The loss is so small that many steps fall below the bound."""
    cell = Elman(inputs=0, features=N, activation="sigmoid")
    cell = cell.clone(param_dtype=jnp.float64)
    with jax.enable_x64(True):
        drawn = setting(cell, jnp.float64, weight=1e-9)
        result, entered, adjoints = jax.device_get(found(*drawn))
    states = entered["0"][1][0]
    U = np.asarray(drawn[1]["stack_0_0"]["cell"]["U"])
    total, count, gradient = 0.0, 0, np.zeros_like(U)
    (name,) = adjoints
    for t in range(T):
        for b in range(B):
            size = np.linalg.norm(adjoints[name]["states"][t, b])
            if t < LENGTHS[b] and size**2 >= 1e-20:
                s = states[t, b] * (1 - states[t, b])
                s = s * adjoints[name]["states"][t, b] / size
                back = U @ s  # stored the other way round
                total += (back @ back - 1) ** 2
                gradient += 4 * (back @ back - 1) * np.outer(back, s)
                count += 1
    assert 0 < count < LENGTHS.sum()
    assert result.count == count
    np.testing.assert_allclose(result.total, total, rtol=1e-12)
    own = result.gradient["stack_0_0"]["cell"].pop("U")
    np.testing.assert_allclose(own, gradient, rtol=1e-12, atol=1e-14)
    assert all(np.all(x == 0) for x in jax.tree.leaves(result.gradient))


@pytest.mark.parametrize(
    "name, both_ways", [("gru", False), ("lstm", False), ("antisymmetric", True)]
)
def test_any_cell_against_finite_differences(name, both_ways):
    """J_t of every step by autodiff, with all products held where they were."""
    cell = CELLS[name](inputs=0, features=N).clone(param_dtype=jnp.float64)
    with jax.enable_x64(True):
        drawn = setting(cell, jnp.float64, bidirectional=both_ways, readout="every")
        result, entered, adjoints = found(*drawn)
        params, (x, trajectories) = drawn[1], entered["0"]
        direction = jax.tree.map(
            lambda p: jax.random.normal(jax.random.key(p.size + 1), p.shape, p.dtype),
            {walk: params[walk]["cell"] for walk in adjoints},
        )

        @quick_jit
        def total(size: float) -> Any:
            moved = jax.tree.map(
                lambda p, d: p + size * d, {w: params[w]["cell"] for w in adjoints},
                direction,
            )  # fmt: skip
            return sum(
                of_walk(
                    *make_weights(cell.clone(inputs=M), params[walk]["cell"]),
                    make_weights(cell.clone(inputs=M), moved[walk])[1],
                    in_order((x, states), walk.endswith("1")),
                    adjoints[walk]["states"],
                    np.arange(T)[:, None] < LENGTHS if walk.endswith("0")
                    else np.arange(T)[::-1, None] < LENGTHS,
                )
                for walk, states in zip(sorted(adjoints), trajectories, strict=True)
            )  # fmt: skip

        np.testing.assert_allclose(result.total, total(0.0), rtol=1e-10)
        assert result.count == (1 + both_ways) * LENGTHS.sum()
        slope = (total(1e-5) - total(-1e-5)) / 2e-5
        gradient = {walk: result.gradient[walk]["cell"] for walk in adjoints}
        along = jax.tree.map(jnp.vdot, gradient, direction)
        np.testing.assert_allclose(sum(jax.tree.leaves(along)), slope, rtol=1e-6)


def of_walk(cell, weights, moved, walked, adjoint, valid) -> Any:
    """Σ (r − 1)² over the valid steps of a walk, the kernels alone being moved."""
    x, states = walked
    previous = jax.tree.map(lambda s: jnp.concatenate([s[:1] * 0, s[:-1]]), states)
    drive = call(cell, weights, "readin", x)[0]

    def one(state, drive, adjoint) -> Any:
        seams = call(cell, weights, "step", state, drive)[1]
        names = {seam.kernel for seam in seams.values()}
        free = {k: moved.kernels.get(k, moved.params.get(k)) for k in names}
        live = dataclasses.replace(weights, kernels={**weights.kernels, **free})
        taps = {}
        for site, seam in seams.items():
            # z = z_0 + (v − v_0) K: the products stay, K acts on what moves alone
            K = free[seam.kernel]
            product = seam.value * K if seam.form == "diagonal" else seam.value @ K
            taps[site] = seam.output - product
        step = lambda s: call(cell, live, "step", s, drive, taps=taps)[0]
        (back,) = jax.vjp(step, state)[1](adjoint)
        squares = lambda tree: sum(jnp.sum(a**2) for a in jax.tree.leaves(tree))
        return (squares(back) / squares(adjoint) - 1) ** 2

    each = jax.vmap(jax.vmap(one))(previous, drive, adjoint)
    return jnp.sum(jnp.where(valid, each, 0.0))


def test_a_step_without_recurrent_kernels_is_refused():
    drawn = setting(Plain(inputs=0, features=N), jnp.float32)
    with pytest.raises(UserError, match="Plain does not multiply by any recurrent"):
        found(*drawn)


@pytest.mark.slow
def test_an_update_adds_the_penalty_before_it_clips():
    """To the recurrent kernel alone, from shards as from the whole batch."""
    clipping = ClippingConfig("norm", 1e-2)
    config = tiny(optimizer=SGD(), clipping=clipping, steps=1, lr=0.5)
    config = dataclasses.replace(config, penalty=OmegaPenalty(2.0))
    none = dataclasses.replace(config, penalty=OmegaPenalty(0.0))
    sharded = dataclasses.replace(config, shards=2)
    assert signature(config) == signature(none)
    params = initial_params(config)

    def gradient(*configs: Any) -> list[Any]:
        program = Program(signature(configs[0]))
        get = quick_jit(lambda hyper: program._gradient(params, hyper, 0, {})[2])
        return [get(build_hyper(config)) for config in configs]

    (whole, without), (parts,) = gradient(config, none), gradient(sharded)
    changed = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), whole, without)
    assert changed["stack_0_0"]["cell"].pop("U") > 1e-3
    assert max(jax.tree.leaves(changed)) < 1e-7
    end = train(config)[0].params
    g, again, start, stop = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
        for tree in (whole, parts, params, end)
    )
    np.testing.assert_allclose(again, g, rtol=1e-4, atol=1e-6)
    step = 0.5 * g * 1e-2 / np.linalg.norm(g)
    np.testing.assert_allclose(start - stop, step, rtol=1e-3, atol=1e-6)
