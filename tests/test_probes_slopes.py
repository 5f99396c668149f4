"""What activations record; slopes and gates against arbitrary precision and NumPy."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from rnnjax.activations import (
    ACTIVATIONS,
    mish,
    recording,
    relu,
    sigmoid,
    silu,
    tanh,
    with_slope,
)
from rnnjax.cells import CELLS, Cell
from rnnjax.probes.factors.gates import (
    gate_summary,
    gates,
    log_openness,
)
from rnnjax.probes.factors.slopes import (
    BINS,
    log_slope,
    preactivations,
    summary,
)
from rnnjax.recurrence.functional import call
from tests.recurrence_samples import shapes_of
from tests.test_activations import DIGITS, EXACT
from tests.walk_samples import LENGTHS, B, M, N, cell_of, forward, inputs, parameters


NAMES = {
    "antisymmetric": ["hidden"],
    "atr": ["input", "forget"],
    "brc": ["feedback", "update", "candidate"],
    "cfn": ["candidate", "forget", "memory", "input"],
    "cornn": ["force"],
    "elman": ["hidden"],
    "exprnn": ["modulus"],
    "fastgrnn": ["update", "candidate"],
    "fastrnn": ["candidate"],
    "gated_antisymmetric": ["input", "hidden"],
    "gru": ["reset", "update", "candidate"],
    "gru_before": ["reset", "update", "candidate"],
    "indrnn": ["hidden"],
    "janet": ["shut_out", "candidate", "forget"],
    "leaky": ["hidden"],
    "lem": ["step_z", "step_y", "candidate_z", "candidate_y"],
    "lightru": ["candidate", "forget"],
    "ligru": ["update", "candidate"],
    "lru": [],
    "lstm": ["forget", "input", "candidate", "output", "memory"],
    "mgu": ["forget", "candidate"],
    "mingru": ["keep", "update", "candidate"],
    "minimal_rnn": ["candidate", "update"],
    "minlstm": ["forget", "input", "candidate"],
    "multiplicative_lstm": ["forget", "input", "candidate", "output", "memory"],
    "mut1": ["update", "encoded", "reset", "candidate"],
    "nbrc": ["feedback", "update", "candidate"],
    "peephole_lstm": ["forget", "input", "candidate", "output", "memory"],
    "ran": ["input", "forget", "memory"],
    "rhn": ["transform1", "candidate1", "transform2", "candidate2"],
    "scrn": ["hidden"],
    "star": ["candidate", "update", "hidden"],
    "ugrnn": ["update", "candidate"],
    "urnn": ["modulus"],
}


class Stranger(Cell):
    """An author's cell with imported activations and no names."""

    def setup(self):
        self.kernel("V", self.inputs, self.features, "glorot_uniform")
        self.kernel("U", self.features, self.features, "orthogonal")

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        z = drive + self.recur("U", h)
        return sigmoid(z) * tanh(z) + mish(h) * sigmoid(2 * z)


@pytest.mark.parametrize("name", NAMES)
def test_recording_names_the_activations_of_a_cell_and_changes_nothing(name):
    cell = cell_of(name, **({"depth": 2} if name == "rhn" else {}))
    static, weights, state, x = shapes_of(cell, B)

    def run(weights, state, x):
        drive = call(static, weights, "readin", x)[0]
        return call(static, weights, "step", state, drive)[0]

    def program():
        # a function of its own, which JAX has not traced before
        return str(jax.make_jaxpr(lambda *args: run(*args))(weights, state, x))

    plain = program()
    with recording() as seen:
        recorded = program()
    assert [one.name for one in seen] == NAMES[name]

    def read(program):
        # two names for one call split its input, which then nobody reads
        lines = program.splitlines()
        return [line for line in lines if not line.lstrip().startswith("_:")]

    assert read(recorded) == read(plain)


@pytest.mark.parametrize("phi", [sigmoid, mish], ids=lambda phi: phi.name)
def test_a_name_changes_no_program(phi):
    z = jnp.ones((2, 4))
    for name in (None, "forget", ("forget", "input")):
        named = jax.make_jaxpr(jax.grad(lambda z, name=name: phi(z, name).sum()))(z)
        plain = jax.make_jaxpr(jax.grad(lambda z: phi.function(z).sum()))(z)
        assert str(named) == str(plain)


def test_every_registered_cell_is_named():
    assert set(NAMES) == set(CELLS)


def test_recording_of_unnamed_and_repeated_calls():
    cell = Stranger(M, N)
    walked, _ = forward(cell, parameters(cell), inputs())
    names = [pre.name for pre in jax.jit(preactivations)(walked)]
    assert names == ["sigmoid#0", "tanh#0", "mish#0", "sigmoid#1"]
    with recording() as seen:
        sigmoid(jnp.arange(4.0), ("a", "b"))
        relu(1.0, "a")
    assert [(one.name, one.z.tolist()) for one in seen] == [
        ("a", [0.0, 1.0]),
        ("b", [2.0, 3.0]),
        ("a#1", 1.0),
    ]


def test_what_an_activation_is_made_of_is_not_recorded():
    own = with_slope(lambda z: sigmoid(z) * tanh(z), lambda z: tanh.slope(z))
    with recording() as seen:
        jax.jit(jax.grad(lambda z: silu(z) + own(z) + mish(z)))(1.0)
        jax.hessian(silu)(2.0)
    assert [one.name for one in seen] == ["silu#0", "mish#0", "silu#1"]


def test_recording_ends_with_its_block():
    with pytest.raises(RuntimeError), recording() as seen:
        raise RuntimeError
    tanh(1.0)
    with recording() as outer:
        tanh(1.0)
        with recording() as inner:
            tanh(2.0)
    assert (len(seen), len(outer), len(inner)) == (0, 1, 1)


POINTS = [30.0, -30.0, 12.0, -12.0, 4.0, -4.0, 0.5, -0.5, 1e-3, -1e-3]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_and_its_logarithm_at_thirty(name):
    z = jnp.asarray(POINTS, jnp.float32)
    phi = ACTIVATIONS[name]
    slope, log = jax.jit(lambda z: (phi.slope(z), log_slope(phi, z)))(z)
    tiny = float(np.finfo(np.float32).tiny)
    with mp.workdps(450):
        for point, got, got_log in zip(np.asarray(z), slope, log, strict=True):
            exact = EXACT[name][1](mp.mpf(float(point)))
            far = abs(point) >= 12
            if exact == 0:
                assert got == 0 and np.isneginf(got_log)
                continue
            # near a sign change of the slope errors are absolute
            size = abs(exact) if far else max(abs(exact), mp.mpf("0.25"))
            assert abs(mp.mpf(float(got)) - exact) <= 1e-6 * size + tiny * abs(point)
            if abs(exact) < tiny:
                continue
            wanted = mp.log(abs(exact))
            size = abs(wanted) if far else max(abs(wanted), mp.mpf("0.25"))
            error = abs(mp.mpf(float(got_log)) - wanted)
            assert error <= 1e-6 * size + tiny, (point, got_log, wanted)


@pytest.mark.parametrize("z", [1e3, 200.0, 1e-4])
def test_logarithm_of_a_slope_that_is_no_number_of_float32(z):
    wanted = float(-2 * mp.log(mp.cosh(z)))
    for sign in (1, -1):
        got = log_slope(tanh, jnp.float32(sign * z))
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
def test_logarithm_of_a_gate(gate):
    z = jnp.asarray([*POINTS, 80.0, -200.0, 2.999], jnp.float32)
    got = np.asarray(jax.jit(lambda z: log_openness(gate, z))(z))
    with mp.workdps(DIGITS):
        for point, found in zip(np.asarray(z), got, strict=True):
            exact = EXACT[gate][0](mp.mpf(float(point)))
            if exact in (0, 1):
                assert found == (-np.inf if exact == 0 else 0.0)
                continue
            wanted = mp.log(exact)
            assert abs(mp.mpf(float(found)) - wanted) <= 1e-6 * abs(wanted), point


@pytest.mark.parametrize("backwards", [False, True])
def test_summaries_of_a_ragged_batch(backwards, x64):
    cell = cell_of("lstm", jnp.float64)
    params = parameters(cell)
    lengths = jnp.asarray(LENGTHS)

    @jax.jit
    def measure(params, x):
        walked, _ = forward(cell, params, x, lengths, backwards)
        found = preactivations(walked)
        return (
            found,
            [summary(p) for p in found],
            [gate_summary(g) for g in gates(found)],
        )

    x = 6 * inputs()
    found, slopes, openness = measure(params, x)
    forget = found[0].z
    # the equation in NumPy, example by example without padding
    p = {k: np.asarray(v) for k, v in params.items()}
    own = []
    for b, length in enumerate(LENGTHS):
        h = c = np.full(N, 0.2)
        order = range(length)[::-1] if backwards else range(length)
        rows = {}
        for t in order:
            z = np.asarray(x)[t, b] @ p["V"] + h @ p["U"] + p["b"]
            i, f, g, o = np.split(z, 4)
            s = lambda v: 1 / (1 + np.exp(-v))
            c = s(f) * c + s(i) * np.tanh(g)
            h = s(o) * np.tanh(c)
            rows[t] = f
            np.testing.assert_allclose(forget[t, b], f, rtol=1e-10)
        own += [(t, rows[t]) for t in rows]
    steps = np.array([t for t, _ in own])
    open_ = 1 / (1 + np.exp(-np.array([f for _, f in own])))
    slope = open_ * (1 - open_)

    got = slopes[0]
    assert got.name == "forget" and got.bound == 0.25
    np.testing.assert_allclose(got.mean, slope.mean(), rtol=1e-10)
    assert float(got.active) == 1.0
    np.testing.assert_allclose(got.saturated, np.mean(slope < 0.05 * 0.25))
    assert 0 < got.saturated < 1
    rms = [np.sqrt(np.mean(slope[steps == t] ** 2)) for t in range(len(got.rms))]
    np.testing.assert_allclose(got.rms, rms, rtol=1e-10)
    counts, edges = np.histogram(slope, BINS, (0, 0.25))
    np.testing.assert_array_equal(got.counts, counts)
    np.testing.assert_allclose(got.edges, edges)

    gate = openness[0]
    assert [g.name for g in openness] == ["forget", "input", "output"]
    np.testing.assert_allclose(gate.mean, open_.mean(), rtol=1e-10)
    by_time = [open_[steps == t].mean() for t in range(len(gate.by_time))]
    np.testing.assert_allclose(gate.by_time, by_time, rtol=1e-10)
    np.testing.assert_allclose(gate.open, np.mean(open_ > 0.9))
    np.testing.assert_allclose(gate.shut, np.mean(open_ < 0.1))
    assert gate.open > 0 and gate.shut > 0
    keep = -1 / np.mean(np.log(open_), axis=0)
    np.testing.assert_allclose(gate.time_constant, keep, rtol=1e-9)
    shut = -1 / np.mean(np.log1p(-open_), axis=0)
    np.testing.assert_allclose(gate.time_constant_shut, shut, rtol=1e-9)


def test_a_relu_is_active_in_part_and_padding_is_left_out():
    cell = cell_of("elman", activation="relu")
    walked, _ = forward(cell, parameters(cell), inputs(), jnp.asarray(LENGTHS))
    (found,) = jax.jit(preactivations)(walked)
    got = jax.jit(summary)(found)
    z = np.asarray(found.z)[np.arange(5)[:, None] < LENGTHS[None]]
    np.testing.assert_allclose(got.active, np.mean(z > 0), rtol=1e-6)
    assert 0 < got.active < 1 and int(got.counts.sum()) == z.size
    assert int(got.counts[0]) == np.sum(z <= 0) and float(got.saturated) == np.float32(
        np.mean(z <= 0)
    )


def test_root_mean_square_of_slopes_whose_squares_underflow():
    cell = cell_of("elman")
    params = {**parameters(cell), "b": jnp.full(N, 40.0)}
    walked, _ = forward(cell, params, inputs())
    found, got = jax.jit(lambda w: [(p, summary(p)) for p in preactivations(w)][0])(
        walked
    )
    wide = 1 / np.cosh(np.asarray(found.z, np.float64)) ** 2
    rms = np.sqrt(np.mean(wide**2, axis=(1, 2)))
    assert np.all(rms < 1e-25)
    np.testing.assert_allclose(got.rms, rms, rtol=1e-4)
