"""Slope and weight, direct path and the rest, against the equations in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.activations import sigmoid
from rnnjax.cells import Cell, Elman
from rnnjax.initializers import make_initializer
from rnnjax.probes.backward.walk import walk_forward
from rnnjax.probes.dynamics.jacobian import jacobians
from rnnjax.probes.factors.direct_path import (
    DirectPath,
    direct_adjoint,
    direct_path,
    direct_share,
    retention,
)
from rnnjax.probes.factors.slope_times_weight import (
    log10_ratio,
    two_factors,
)
from rnnjax.recurrence.functional import make_weights
from rnnjax.recurrence.scaled import Scaled, log10_norm
from tests.walk_samples import (
    LENGTHS,
    B,
    M,
    N,
    T,
    back,
    cell_of,
    forward,
    inputs,
    last_answer,
    parameters,
    walk,
)


VALID = np.arange(T)[:, None] < LENGTHS
s = lambda z: 1 / (1 + np.exp(-z))


def plain(value):
    """A `Scaled` array ``(T, B, …)`` in float64."""
    mantissa, exponent = np.asarray(value.mantissa, np.float64), value.exponent
    axes = tuple(range(exponent.ndim, mantissa.ndim))
    return np.ldexp(mantissa, np.expand_dims(np.asarray(exponent), axes))


def steps_back(length, backwards):
    """(t, the step before it in the walk or None), from the end of the walk."""
    order = list(range(length))[:: -1 if backwards else 1]
    return list(zip(order, [None, *order[:-1]], strict=True))[::-1]


# -- slope and weight ---------------------------------------------------------------


@pytest.mark.parametrize("backwards", [False, True])
def test_two_factors_of_an_elman_cell(backwards):
    cell = cell_of("elman", activation="sigmoid")
    params, x, lengths = parameters(cell), inputs(), jnp.asarray(LENGTHS)

    @jax.jit
    def measure(params):
        seen = walk(cell, params, x, lengths, backwards)
        return seen, two_factors(seen), log10_norm(seen.adjoint)

    seen, got, norms = measure(params)
    U = np.asarray(params["U"], np.float64)
    adjoint, h = plain(seen.adjoint), np.asarray(seen.states, np.float64)
    size = lambda v: np.log10(np.linalg.norm(v))
    for b, length in enumerate(LENGTHS):
        slopes = weights = 0.0
        for t, before in steps_back(length, backwards):
            delta = h[t, b] * (1 - h[t, b]) * adjoint[t, b]
            slope = size(delta) - size(adjoint[t, b])
            weight = size(U @ delta) - size(delta)
            np.testing.assert_allclose(got.slope[t, b], slope, atol=2e-6)
            np.testing.assert_allclose(got.weight[t, b], weight, atol=2e-6)
            np.testing.assert_allclose(got.slope_sum[t, b], slopes, atol=4e-6)
            np.testing.assert_allclose(got.weight_sum[t, b], weights, atol=4e-6)
            slopes, weights = slopes + slope, weights + weight
            if before is not None:
                ratio = norms[before, b] - norms[t, b]
                both = got.slope[t, b] + got.weight[t, b]
                np.testing.assert_allclose(10**both, 10**ratio, rtol=1e-5)
                np.testing.assert_allclose(got.inflow[t, b], 0, atol=4e-6)
    for each in (got.slope, got.weight, got.slope_sum, got.weight_sum):
        assert np.all(np.isnan(each) == ~VALID)


def test_inflow_is_the_loss_that_enters_between():
    cell = cell_of("elman")
    params = parameters(cell)
    every = jnp.asarray(np.random.default_rng(4).standard_normal((T, B, N)), "float32")

    @jax.jit
    def measure(params):
        walked, _ = forward(cell, params, inputs())
        seen = back(walked, every)
        return two_factors(seen), log10_norm(seen.adjoint)

    got, norms = measure(params)
    total = (got.slope + got.weight + got.inflow)[1:]
    np.testing.assert_allclose(total, norms[:-1] - norms[1:], atol=4e-6)
    assert np.min(np.abs(got.inflow[1:])) > 1e-3 and np.all(np.isnan(got.inflow[0]))


def test_a_sigmoid_network_with_four_times_an_orthogonal_matrix_does_not_vanish():
    steps, n = 100, 16
    cell = Elman(1, n, activation="sigmoid")
    U = 4 * make_initializer("orthogonal")(jax.random.key(3), (n, n), jnp.float32)
    # h = ½ is then a fixed point with z = 0: z_j = Σ_i h_i U_ij + b_j
    params = {"U": U, "V": jnp.zeros((1, n)), "b": -0.5 * jnp.sum(U, axis=0)}

    @jax.jit
    def measure(params):
        static, weights = make_weights(cell, params)
        x, start = jnp.zeros((steps, B, 1)), jnp.full((B, n), 0.5)
        walked, out = walk_forward(static, weights, "layer0", x, start)
        seen = back(walked, last_answer(out, None))
        return two_factors(seen), log10_norm(seen.adjoint)

    got, norms = measure(params)
    ratio = 10.0 ** np.asarray(norms[0] - norms[-1])
    assert np.all((ratio > 0.5) & (ratio < 2.0)), ratio
    np.testing.assert_allclose(10**got.slope, 0.25, rtol=2e-3)
    np.testing.assert_allclose(10**got.weight, 4.0, rtol=1e-5)
    total = got.slope_sum[0] + got.weight_sum[0]
    np.testing.assert_allclose(10**total, ratio, rtol=2e-4)
    far = (steps - 1) * np.log10(0.25)
    np.testing.assert_allclose(got.slope_sum[0], far, rtol=1e-3)


def test_factors_of_a_long_vanishing_network_multiply_to_rounding():
    steps, n = 100, 8
    cell = Elman(1, n, activation="sigmoid")
    params = parameters(cell)
    x = inputs(steps, B, 1)

    @jax.jit
    def measure(params):
        seen = walk(cell, params, x)
        return seen, two_factors(seen)

    seen, got = measure(params)
    mantissa = np.asarray(seen.adjoint.mantissa, np.float64)
    log = np.log10(np.linalg.norm(mantissa, axis=-1))
    log = log + np.asarray(seen.adjoint.exponent, np.float64) * np.log10(2)
    assert np.all(log[0] < -40)
    both = np.asarray(got.slope, np.float64) + np.asarray(got.weight, np.float64)
    np.testing.assert_allclose(10 ** (both[1:] - (log[:-1] - log[1:])), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["urnn", "exprnn", "indrnn"])
def test_two_factors_of_other_cells_with_one_product(name, x64):
    cell = cell_of(name, jnp.float64)

    @jax.jit
    def measure(params):
        seen = walk(cell, params, inputs())
        return seen, two_factors(seen)

    seen, got = measure(parameters(cell))
    size = np.linalg.norm(plain_complex(seen.adjoint), axis=-1)
    both = 10 ** (got.slope + got.weight)
    np.testing.assert_allclose(both[1:], size[:-1] / size[1:], rtol=1e-10)
    if name != "indrnn":
        np.testing.assert_allclose(got.weight, 0, atol=1e-12)


def plain_complex(value):
    scale = 2.0 ** np.asarray(value.exponent, np.float64)
    return np.asarray(value.mantissa) * scale[..., None]


@pytest.mark.parametrize("name", ["lstm", "gru", "antisymmetric", "cornn", "mingru"])
def test_two_factors_say_what_they_need(name):
    cell = cell_of(name)
    with pytest.raises(ValueError, match="two factors need .*direct_path"):
        jax.eval_shape(lambda p: two_factors(walk(cell, p, inputs())), parameters(cell))


def test_dead_units_pass_nothing_on():
    cell = cell_of("elman", activation="relu")
    params = {**parameters(cell), "b": jnp.full(N, -100.0)}
    got = jax.jit(lambda p: two_factors(walk(cell, p, inputs())))(params)
    assert np.all(np.isneginf(got.slope[-1])) and np.all(np.isnan(got.weight[-1]))
    assert np.all(np.isnan(got.slope[:-1]))


def test_ratio_of_numbers_that_are_far_too_small():
    m, k = jnp.ones((2, 3)), jnp.array([-90_000, -90_000])
    ratio = log10_ratio(Scaled(0.5 * m, k), Scaled(m, k))
    np.testing.assert_allclose(ratio, np.log10(0.5), rtol=1e-6)


# -- the direct path ----------------------------------------------------------------


def parts(p, name, gates):
    return np.split(np.asarray(p[name]), gates, axis=-1)


def lstm_block(p, x, before, after):
    """[∂h/∂h, ∂h/∂c; ∂c/∂h, ∂c/∂c] with the gates held."""
    h, c = before
    i, f, g, o = np.split(x @ p["V"] + h @ p["U"] + p["b"], 4, axis=-1)
    new = s(f) * c + s(i) * np.tanh(g)
    out = s(o) / np.cosh(new) ** 2 * s(f)
    return [[0 * out, out], [0 * out, s(f)]]


def gru_block(p, x, before, after):
    V, b = p["V"], p["b"]
    z = (x @ V + b + before[0] @ p["U"])[..., N : 2 * N]
    return [[s(z)]]


def gru_before_block(p, x, before, after):
    z = (x @ p["V"] + p["b"])[..., : 2 * N] + before[0] @ p["U"]
    return [[s(z[..., N:])]]


def minimal_block(p, x, before, after):
    encoded = np.tanh(x @ p["V"] + p["b"])
    return [[s(encoded @ p["Uz"] + before[0] @ p["U"] + p["bu"])]]


def mingru_block(p, x, before, after):
    return [[s(-(x @ p["V"] + p["b"])[..., :N])]]


def indrnn_block(p, x, before, after):
    return [[(1 - after[0] ** 2) * p["u"]]]


def elman_block(p, x, before, after):
    return [[0 * after[0]]]


def antisymmetric_block(p, x, before, after):
    return [[1 + 0 * after[0]]]


def lru_block(p, x, before, after):
    value = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"])) + 0 * after[0]
    return [[value.real, -value.imag], [value.imag, value.real]]


def urnn_block(p, x, before, after):
    nothing = np.zeros(after[0].shape)
    return [[nothing, nothing], [nothing, nothing]]


def lem_block(p, x, before, after):
    z = x @ p["V"] + p["b"]
    u = before[0] @ p["U"]
    one, two = s(z[..., :N] + u[..., :N]), s(z[..., N : 2 * N] + u[..., N : 2 * N])
    return [[1 - two, 0 * two], [0 * one, 1 - one]]


def cornn_block(p, x, before, after):
    dt, gamma, epsilon = 0.3, 1.7, 0.9
    one = np.ones(after[0].shape)
    zy, zz = -dt * gamma, 1 - dt * epsilon
    return [[(1 + dt * zy) * one, dt * zz * one], [zy * one, zz * one]]


def rhn_block(p, x, before, after):
    state, kept = before[0], 1.0
    for l in (1, 2):
        z = state @ p[f"R{l}"] + p[f"b{l}"] + (x @ p["V"] if l == 1 else 0)
        h, t = np.tanh(z[..., :N]), s(z[..., N:])
        state, kept = h * t + state * (1 - t), kept * (1 - t)
    return [[kept]]


DIRECT = {
    "lstm": (lstm_block, {}),
    "gru": (gru_block, {}),
    "gru_before": (gru_before_block, {}),
    "minimal_rnn": (minimal_block, {}),
    "mingru": (mingru_block, {}),
    "indrnn": (indrnn_block, {"activation": "tanh"}),
    "elman": (elman_block, {}),
    "antisymmetric": (antisymmetric_block, {}),
    "lru": (lru_block, {}),
    "urnn": (urnn_block, {}),
    "lem": (lem_block, {}),
    "cornn": (cornn_block, {"dt": 0.3, "gamma": 1.7, "epsilon": 0.9}),
    "rhn": (rhn_block, {"depth": 2}),
}


@pytest.mark.parametrize("name", DIRECT)
def test_direct_path_is_what_the_equations_keep(name, x64):
    equation, fields = DIRECT[name]
    backwards = name in ("gru", "lstm")
    cell = cell_of(name, jnp.float64, **fields)
    params, x = parameters(cell), inputs()

    @jax.jit
    def measure(params):
        walked, _ = forward(cell, params, x, jnp.asarray(LENGTHS), backwards)
        direct = direct_path(walked)
        return walked.states, direct, retention(direct)

    states, direct, kept = measure(params)
    states = [np.asarray(a) for a in jax.tree.leaves(states)]
    if backwards:
        states = [a[::-1] for a in states]
    p = {k: np.asarray(v) for k, v in params.items()}
    for b, length in enumerate(LENGTHS):
        for t, before in steps_back(length, backwards):
            old = [np.full(N, 0.2) if before is None else a[before, b] for a in states]
            new = [a[t, b] for a in states]
            block = np.array(equation(p, np.asarray(x)[t, b], old, new))
            np.testing.assert_allclose(direct.block[t, b], block, rtol=1e-10, atol=0)
            matrices = np.moveaxis(block, -1, 0)
            radius = np.max(np.abs(np.linalg.eigvals(matrices)), axis=-1)
            np.testing.assert_allclose(kept[t, b], radius, rtol=1e-9, atol=1e-300)
    assert np.all(np.isnan(kept) == ~VALID[..., None])
    eye = np.eye(direct.block.shape[2])[..., None] + np.zeros(N)
    assert np.all(np.asarray(direct.block)[~VALID] == eye)
    names = {"lstm": ("h", "c"), "lru": ("h.re", "h.im"), "gru": ("h",)}
    assert direct.names == names.get(name, direct.names)


def test_direct_path_of_a_diagonal_cell_is_its_jacobian_with_resets_and_cuts(x64):
    cell, lengths = cell_of("lru", jnp.float64), jnp.asarray(LENGTHS)
    steps = np.arange(T)[:, None]
    reset = jnp.asarray((steps == 1) & (np.arange(B) < 2))
    cut = jnp.asarray((steps == 3) & (np.arange(B) != 2))

    @jax.jit
    def measure(params):
        walked, _ = forward(cell, params, inputs(), lengths)
        drive = dataclasses.replace(walked.drive, reset=reset, cut=cut)
        walked = dataclasses.replace(walked, drive=drive)
        return direct_path(walked).block, jacobians(walked)

    block, jacobian = measure(parameters(cell))
    whole = np.zeros(jacobian.shape).reshape(T, B, 2, N, 2, N)
    for k in range(N):
        whole[:, :, :, k, :, k] = block[..., k]
    np.testing.assert_allclose(whole.reshape(jacobian.shape), jacobian, atol=1e-12)
    assert np.all(block[1, :2] == 0) and np.all(block[3, :2] == 0)
    assert np.any(block[2] != 0) and np.any(block[3, 2] != 0)


def test_retention_of_a_small_forget_gate_does_not_underflow():
    f = jnp.full((1, 1, 1), 1e-30, jnp.float32)
    block = jnp.stack([jnp.stack([0 * f, f], 2), jnp.stack([0 * f, f], 2)], 2)
    got = retention(DirectPath(block, jnp.ones((1, 1), bool), ("h", "c")))
    np.testing.assert_allclose(got, 1e-30, rtol=1e-5)


def test_retention_of_three_state_arrays(x64):
    block = np.random.default_rng(0).standard_normal((2, 1, 3, 3, N))
    got = retention(DirectPath(jnp.asarray(block), jnp.ones((2, 1), bool), ("a",) * 3))
    values = np.linalg.eigvals(np.moveaxis(block, -1, 2))
    np.testing.assert_allclose(got, np.abs(values).max(-1), rtol=1e-10)


class Mixing(Cell):
    """Its units meet outside the seams."""

    def setup(self):
        self.kernel("V", self.inputs, self.features, "glorot_uniform")

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        return sigmoid(drive) * h / (1 + jnp.sum(h * h, axis=-1, keepdims=True))


def test_a_cell_that_mixes_its_units_has_no_direct_path():
    cell = Mixing(M, N)
    walked, _ = forward(cell, parameters(cell), inputs())
    assert np.all(np.isnan(jax.jit(direct_path)(walked).block))


@pytest.mark.parametrize("backwards", [False, True])
def test_what_the_product_of_forget_gates_carries(backwards, x64):
    """∂L/∂c by the direct path: (λ_c + o φ′(c) λ_h) at the end, times later gates."""
    cell = cell_of("lstm", jnp.float64)
    params, x, lengths = parameters(cell), inputs(), jnp.asarray(LENGTHS)

    @jax.jit
    def measure(params):
        seen = walk(cell, params, x, lengths, backwards)
        direct = direct_path(seen.forward)
        return seen, direct_share(seen, direct), direct_adjoint(seen, direct)

    seen, share, path = measure(params)
    p = {k: np.asarray(v) for k, v in params.items()}
    h, c = (np.asarray(a) for a in seen.states)
    scale = 2.0 ** np.asarray(seen.adjoint.exponent, float)[..., None]
    λh, λc = (np.asarray(a) * scale for a in seen.adjoint.mantissa)
    for b, length in enumerate(LENGTHS):
        carried = None
        for t, before in steps_back(length, backwards):
            size = np.sqrt(np.sum(λh[t, b] ** 2 + λc[t, b] ** 2))
            if carried is None:
                np.testing.assert_allclose(share[t, b], 0, atol=1e-12)
                carried = (λh[t, b], λc[t, b])
            else:
                ratio = np.log10(np.linalg.norm(carried[1]) / size)
                np.testing.assert_allclose(share[t, b], ratio, atol=1e-10)
                np.testing.assert_allclose(plain(path)[t, b, 1], carried[1], rtol=1e-9)
                assert abs(ratio) > 1e-6, "the rest of the adjoint is too small to see"
            if before is not None:
                z = np.asarray(x)[t, b] @ p["V"] + h[before, b] @ p["U"] + p["b"]
                _, f, _, o = np.split(z, 4)
                through = carried[1] + s(o) / np.cosh(c[t, b]) ** 2 * carried[0]
                carried = (0 * through, s(f) * through)
    assert np.all(np.isnan(share) == ~VALID)


def test_all_of_the_adjoint_of_a_diagonal_cell_is_direct(x64):
    cell, lengths = cell_of("lru", jnp.float64), jnp.asarray(LENGTHS)

    @jax.jit
    def measure(params):
        seen = walk(cell, params, inputs(), lengths)
        direct = direct_path(seen.forward)
        return seen, direct_share(seen, direct), direct_adjoint(seen, direct)

    seen, share, path = measure(parameters(cell))
    np.testing.assert_allclose(share[VALID], 0, atol=1e-10)
    gradient = np.conj(plain_complex(seen.adjoint))
    got = plain(path)
    np.testing.assert_allclose(got[..., 0, :], np.real(gradient), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got[..., 1, :], np.imag(gradient), rtol=1e-9, atol=1e-12)


def test_nothing_of_an_elman_network_is_direct():
    cell = cell_of("elman")

    @jax.jit
    def measure(params):
        seen = walk(cell, params, inputs())
        return direct_share(seen, direct_path(seen.forward))

    share = measure(parameters(cell))
    assert np.all(np.isneginf(share[:-1]))
    np.testing.assert_allclose(share[-1], 0, atol=1e-6)
