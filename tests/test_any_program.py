"""Any JAX program: its loops against plain autodiff, and what is refused."""

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from flax import nnx
from jax import lax

from rnnjax.analysis.any_program import probe_loss
from rnnjax.analysis.front import probe
from rnnjax.errors import UserError
from rnnjax.probes.programs.arguments import arguments_of
from rnnjax.probes.programs.loop_run import floats
from rnnjax.probes.programs.loops import OPENED, as_loop, is_loop, refuse
from rnnjax.probes.programs.program import program_of
from rnnjax.recurrence.jaxprs import play
from tests.foreign_models import (
    MODELS,
    B,
    M,
    N,
    X,
    mean_square,
    tanh_layer,
    tanh_params,
)


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield


def adjoint_norms(loss: Any, args: Any) -> list[np.ndarray]:
    """log10 ‖∂L/∂carry‖ of every loop by plain autodiff, all examples together.

    Zeros are added to the carry after each step, before outputs are computed from it.
    """
    given = arguments_of(args)
    program, leaves = program_of(loss, given), given.arrays
    loops = []

    def find(equation: Any, values: Any) -> Any:
        loops.append((equation, values))
        return equation.primitive.bind(*values, **equation.params)

    play(program.closed, leaves, is_loop, OPENED, find, refuse)
    taps = []
    for equation, values in loops:
        loop = as_loop(equation, "loop")
        start = values[loop.constants :][: loop.carry]
        taps.append([jnp.zeros((loop.length, *start[i].shape)) for i in floats(start)])

    def tapped(taps: Any) -> Any:
        waiting = iter(taps)

        def at(equation: Any, values: Any) -> Any:
            loop = as_loop(equation, "loop")
            constants, rest = values[: loop.constants], values[loop.constants :]
            places = floats(rest[: loop.carry])

            def step(carry: Any, now: Any) -> Any:
                x, tap = now
                given = [*constants, *carry, *x]
                new = list(loop.advance(given))
                for place, zero in zip(places, tap, strict=True):
                    new[place] = new[place] + zero
                return new, list(loop.emit(given, new))

            xs = (rest[loop.carry :], next(waiting))
            last, ys = lax.scan(
                step, rest[: loop.carry], xs, loop.length, reverse=loop.reverse
            )
            return [*last, *ys]

        return play(program.closed, leaves, is_loop, OPENED, at, refuse)[0]

    found = jax.grad(tapped)(taps)
    square = lambda x: np.sum(np.square(x), axis=tuple(range(1, x.ndim)))
    squares = [sum(square(x) for x in one) for one in found]
    with np.errstate(divide="ignore"):
        return [0.5 * np.log10(x) for x in squares]


adjoints = functools.partial(probe_loss, sections=("adjoints",))


def models(quick: Sequence[str]) -> list[Any]:
    """All models, of which those that are not named are slow tests."""
    slow = lambda name: pytest.param(name, marks=pytest.mark.slow)
    return [name if name in quick else slow(name) for name in MODELS]


QUICK = (
    "encoder_and_decoder_that_attends",
    "haiku_lstm",
    "loop_in_a_branch_and_one_of_a_known_count",
    "state_space_in_parallel",
    "two_layers_unrolled_under_jit",
)


@pytest.mark.parametrize("label", models(QUICK))
def test_adjoints_and_gradients_are_those_of_autodiff(label: str) -> None:
    """The gradient of the parameters is compared with JAX's within the probe."""
    loss, args = MODELS[label]()
    seen = probe_loss(loss, *args, sections=("adjoints", "contributions"))
    expected = adjoint_norms(loss, args)
    assert len(expected) == seen.sizes["layer"]
    found = seen.log10_total_adjoint.values
    for rows, known in zip(found, expected, strict=True):
        rows = rows[: len(known), ~np.isnan(rows[0])]
        with np.errstate(divide="ignore"):  # an adjoint may be exactly zero
            joint = 0.5 * np.log10(np.sum(10 ** (2 * rows), axis=1))
        np.testing.assert_allclose(joint, known, atol=2e-5)
    listed = [x for x in seen.attrs["loops"].splitlines() if not x.startswith(" ")]
    assert sum("foreign_models.py" in x for x in listed) == len(expected)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint])
def test_it_does_not_matter_where_outputs_are_computed(wrap: Any) -> None:
    """In the step or after the loop, under `jit` or `remat`, of both arrays of a state.

    The second array is computed from the first one in the same step, which must not
    count as a way from the first one to the loss.
    """

    def loss(inside: bool) -> Any:
        def of(p: Any, xs: Any) -> Any:
            answer = lambda h, c: jnp.tanh(h @ p["V"].T) * jnp.sum(c, -1, keepdims=True)

            @wrap
            def step(state: Any, x: Any) -> Any:
                h, c = state
                c = 0.9 * c + jnp.tanh(h @ p["U"] + x @ p["V"])
                h = jnp.tanh(c)
                return (h, c), (answer(h, c) if inside else (h, c))

            start = jnp.zeros((B, N)), jnp.zeros((B, N))
            _, out = lax.scan(step, start, xs)
            answers = out if inside else answer(*out)
            return mean_square(answers[-1] + 0.1 * answers.sum(0))

        return of

    args = MODELS["plain_scan"]()[1]
    one, two = (adjoints(loss(inside), *args) for inside in (True, False))
    assert np.isfinite(two.log10_adjoint).all()
    xr.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def test_adjoints_below_the_range_of_floats_have_their_digits() -> None:
    """400 steps of a sigmoid network, beside float64 with a logarithm a step.

    One example has an adjoint 10⁶⁰ times as large as the other.
    """
    steps, n = 400, 3
    random = np.random.default_rng(0)
    U, xs = random.normal(size=(n, n)), random.normal(size=(steps, 2, n))
    xs[:, 1] *= 3.0

    def loss(p: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            return jax.nn.sigmoid(h @ p["U"] + x), None

        return jnp.sum(lax.scan(step, jnp.zeros((2, n)), xs)[0])

    arguments = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), ({"U": U}, xs))
    seen = adjoints(loss, *arguments).log10_total_adjoint.values[0]
    U, xs = (np.asarray(a, np.float64) for a in jax.tree.leaves(arguments))
    for example in (0, 1):
        states = [np.zeros(n)]
        for x in xs[:, example]:
            states.append(1 / (1 + np.exp(-(states[-1] @ U + x))))
        adjoint, log = np.ones(n), 0.0
        for t in range(steps - 1, -1, -1):
            size = np.linalg.norm(adjoint)
            adjoint, log = adjoint / size, log + np.log10(size)
            assert seen[t, example] == pytest.approx(log, abs=2e-3), (t, example)
            h = states[t + 1]
            adjoint = U @ (adjoint * h * (1 - h))
    assert seen[0].min() < -150 and np.ptp(seen[0]) > 60


@pytest.mark.parametrize("label", models(["attention_between"]))
def test_double_precision_keeps_ten_digits(label: str) -> None:
    wide = {jnp.dtype("float32"): jnp.float64, jnp.dtype("complex64"): jnp.complex128}
    with jax.enable_x64(True):
        loss, args = MODELS[label]()

        def in_full(x: Any) -> Any:
            dtype = wide.get(getattr(x, "dtype", None))
            return x if dtype is None else jnp.asarray(x, dtype)

        args = jax.tree.map(in_full, args)
        expected = adjoint_norms(loss, args)
        seen = adjoints(loss, *args, sections=("adjoints",)).log10_total_adjoint.values
    for rows, known in zip(seen, expected, strict=True):
        rows = rows[: len(known), ~np.isnan(rows[0])]
        with np.errstate(divide="ignore"):
            joint = 0.5 * np.log10(np.sum(10 ** (2 * rows), axis=1))
        np.testing.assert_allclose(joint, known, atol=1e-10)


def test_examples_are_told_apart_only_if_a_step_treats_them_apart() -> None:
    def loss(mix: bool) -> Any:
        def of(p: Any, xs: Any) -> Any:
            def step(h: Any, x: Any) -> Any:
                h = jnp.tanh(h @ p + x)
                return (h - jnp.mean(h, axis=0) if mix else h), None

            return mean_square(lax.scan(step, jnp.zeros((B, N)), xs)[0])

        return of

    args = jax.random.normal(jax.random.key(5), (N, N)) / 2, X[..., :N]
    apart, mixed = (adjoints(loss(mix), *args) for mix in (False, True))
    assert apart.sizes["example"] == B and f"{B} examples" in apart.attrs["loops"]
    assert mixed.sizes["example"] == 1
    assert "one exponent a step" in mixed.attrs["loops"]


def joint(seen: Any) -> np.ndarray:
    """log10 of the norm over all rows, ``(layer, T)``."""
    rows = seen.log10_total_adjoint.values
    with np.errstate(divide="ignore"):
        return 0.5 * np.log10(np.nansum(10 ** (2 * rows), axis=-1))


def test_units_of_one_sequence_are_no_examples_though_some_are_silent() -> None:
    """Unit 0 of a ReLU network is inactive at first, so that nothing passes it."""

    def loss(w: Any, U: Any, xs: Any) -> Any:
        step = lambda h, x: (jax.nn.relu(U @ h + x), None)
        return (w @ lax.scan(step, jnp.zeros(7), xs)[0] - 1) ** 2

    for seed in range(4):
        keys = jax.random.split(jax.random.key(seed), 3)
        U = jax.random.normal(keys[0], (7, 7)) / 2
        xs = jax.random.normal(keys[1], (12, 7)).at[0, 0].set(-9.0)
        args = jnp.ones(7), U, xs
        seen = adjoints(loss, *args)
        assert seen.sizes["example"] == 1
        np.testing.assert_allclose(joint(seen), adjoint_norms(loss, args), atol=2e-5)


def test_examples_that_mix_at_one_step_alone_are_not_told_apart() -> None:
    def loss(U: Any, xs: Any) -> Any:
        def step(h: Any, now: Any) -> Any:
            t, x = now
            h = jax.nn.sigmoid(h @ U + x)
            return jnp.where(t == 40, jnp.mean(h, axis=0), h), None

        steps = jnp.arange(len(xs))
        return mean_square(lax.scan(step, jnp.zeros((B, N)), (steps, xs))[0])

    xs = jax.random.normal(jax.random.key(1), (60, B, N))
    args = jax.random.normal(jax.random.key(2), (N, N)), 3 * xs
    seen = adjoints(loss, *args)
    assert seen.sizes["example"] == 1
    np.testing.assert_allclose(joint(seen), adjoint_norms(loss, args), atol=2e-4)


def test_a_scan_over_layers_has_the_examples_of_the_batch() -> None:
    """Its state is a whole sequence, in which later steps depend on earlier ones."""

    def loss(W: Any, xs: Any) -> Any:
        def layer(hs: Any, U: Any) -> Any:
            def step(h: Any, x: Any) -> Any:
                h = jnp.tanh(h @ U + x)
                return h, h

            return lax.scan(step, jnp.zeros((B, N)), hs)[1], None

        return mean_square(lax.scan(layer, xs, W)[0])

    args = jax.random.normal(jax.random.key(1), (3, N, N)) / 2, X[..., :N]
    seen = adjoints(loss, *args)
    assert seen.sizes["example"] == B
    np.testing.assert_allclose(joint(seen), adjoint_norms(loss, args), atol=2e-5)


def test_a_rule_that_clips_gradients_is_refused() -> None:
    """Adjoints are rescaled on their way, which such a rule does not allow."""

    @jax.custom_vjp
    def clipped(h: Any) -> Any:
        return h

    clipped.defvjp(lambda h: (h, None), lambda _, d: (jnp.clip(d, -0.1, 0.1),))

    def loss(p: Any, xs: Any) -> Any:
        step = lambda h, x: (clipped(jnp.tanh(h @ p + x)), None)
        return mean_square(lax.scan(step, jnp.zeros((B, N)), xs)[0])

    args = jnp.ones((N, N)) / 2, X[..., :N]
    with pytest.raises(UserError, match="not linear in the cotangent"):
        adjoints(loss, *args)


def test_settings_are_no_arrays() -> None:
    """A name, a number that is a size, a function; modules of Equinox hold such."""

    def loss(p: Any, xs: Any, last: int, how: str, square: Any) -> Any:
        hs = tanh_layer(p["layer"], xs)[-last:]
        return jnp.mean(square(hs)) if how == "mean" else jnp.sum(square(hs))

    params = {"layer": MODELS["plain_scan"]()[1][0], "unused": jnp.zeros(2)}
    seen = probe_loss(loss, params, X, 1, "mean", jnp.square)
    names = [f"{loop}layer/{name}" for loop in ("loop0/", "") for name in "UVb"]
    names.append("unused")
    assert seen.parameter.values.tolist() == names

    class Model(eqx.Module):
        cell: eqx.nn.GRUCell
        head: eqx.nn.MLP
        drop: eqx.nn.Dropout

    k = jax.random.split(jax.random.key(0), 2)
    head = eqx.nn.MLP(N, 1, 8, 1, key=k[1])
    model = Model(eqx.nn.GRUCell(M, N, key=k[0]), head, eqx.nn.Dropout(0.5, True))

    @eqx.filter_jit
    def of_model(model: Any, xs: Any) -> Any:
        step = lambda h, x: (model.drop(jax.vmap(model.cell)(x, h)), None)
        last = lax.scan(step, jnp.zeros((B, N)), xs)[0]
        return jnp.mean(jax.vmap(model.head)(last) ** 2)

    seen = probe(of_model, model, X)
    assert "loop0/cell/weight_hh" in seen.parameter.values


def test_parameters_may_be_no_floats() -> None:
    loss = lambda n, p, xs: mean_square(n[0] * tanh_layer(p, xs)[-1])
    args = [2], tanh_params(2), X
    assert "parameter" not in probe_loss(loss, *args).dims
    assert "loop0/U" in probe_loss(loss, *args, params=1).parameter.values


def test_tied_weights_have_one_row_and_data_none() -> None:
    def loss(U: Any, xs: Any) -> Any:
        run = jax.jit(lambda U, W, xs: tanh_layer({"U": U, "V": W, "b": xs[0, 0]}, xs))
        return mean_square(run(U, U, xs)[-1])

    args = jax.random.normal(jax.random.key(1), (N, N)) / 2, X[..., :N]
    seen = probe_loss(loss, *args)
    assert seen.parameter.values.tolist() == ["loop0/params", "params"]
    total = 10.0 ** seen.log10_contribution.sel(parameter="loop0/params").values

    def copies(each: Any) -> Any:
        def step(h: Any, now: Any) -> Any:
            x, U = now
            return jnp.tanh(h @ U + x @ U + X[0, 0, :N]), None

        return mean_square(lax.scan(step, jnp.zeros((B, N)), (args[1], each))[0])

    each = jax.grad(copies)(jnp.broadcast_to(args[0], (len(X), N, N)))
    expected = np.linalg.norm(np.reshape(each, (len(X), -1)), axis=1)
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_an_empty_array_in_the_state_is_left_alone() -> None:
    def loss(p: Any, xs: Any) -> Any:
        step = lambda c, x: ((jnp.tanh(c[0] @ p + x), c[1]), None)
        start = jnp.zeros((B, N)), jnp.zeros((B, 0))
        return mean_square(lax.scan(step, start, xs)[0][0])

    args = jnp.ones((N, N)) / 3, X[..., :N]
    np.testing.assert_allclose(
        joint(adjoints(loss, *args)), adjoint_norms(loss, args), atol=2e-5
    )


def test_a_square_state_does_not_confuse_units_with_examples() -> None:
    xs = X[:, :, :B]
    loss = lambda p, xs: mean_square(
        lax.scan(lambda h, x: (jnp.tanh(h @ p + x), None), jnp.zeros((B, B)), xs)[0]
    )
    seen = adjoints(loss, jnp.eye(B) / 2, xs)
    (expected,) = adjoint_norms(loss, (jnp.eye(B) / 2, xs))
    np.testing.assert_allclose(joint(seen)[0], expected, atol=2e-5)
    assert seen.sizes["example"] == B


def test_contributions_of_steps_sum_to_the_gradient() -> None:
    """The norm of what one step gives, by a copy of the kernel for each."""
    loss, (params, xs) = MODELS["plain_scan"]()

    def copies(kernels: Any) -> Any:
        def step(h: Any, now: Any) -> Any:
            x, U = now
            h = jnp.tanh(h @ U + x @ params["V"] + params["b"])
            return h, None

        return mean_square(lax.scan(step, jnp.zeros((B, N)), (xs, kernels))[0])

    each = jax.grad(copies)(jnp.broadcast_to(params["U"], (len(xs), N, N)))
    seen = probe_loss(loss, params, xs).log10_contribution.sel(parameter="loop0/U")
    expected = np.linalg.norm(np.reshape(each, (len(xs), -1)), axis=1)
    np.testing.assert_allclose(10.0**seen, expected, rtol=1e-5)


def _no_loop(p: Any, xs: Any) -> Any:
    h = jnp.zeros((B, N))
    for x in xs:
        h = jnp.tanh(h @ p["U"] + x @ p["V"])
    return mean_square(h)


def _while_in_a_loop(p: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        shrink = lambda h: jnp.tanh(h @ p["U"] + x @ p["V"])
        return lax.while_loop(lambda h: jnp.sum(h) > 1, shrink, h), None

    return mean_square(lax.scan(step, jnp.ones((B, N)), xs)[0])


def _counts_in_a_map(p: Any, xs: Any) -> Any:
    """Whole numbers that go from one example to the next come from a loop."""

    def one(count: Any, x: Any) -> Any:
        h = tanh_layer(p, x)[-1]
        return count + (h[0] > 0), h * count

    return mean_square(lax.scan(one, 0, jnp.swapaxes(xs, 0, 1))[1])


def _no_number(p: Any, xs: Any) -> Any:
    return tanh_layer(p, xs)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (_no_loop, "no lax.scan with a state of floats"),
        (_while_in_a_loop, "test_any_program.py:\\d+: a while loop inside another"),
        (_counts_in_a_map, "test_any_program.py:\\d+: a loop whose whole numbers"),
        (_no_number, "must be one real number"),
    ],
)
def test_what_cannot_be_walked_is_refused_in_one_sentence(
    loss: Any, words: str
) -> None:
    params = MODELS["plain_scan"]()[1][0]
    with pytest.raises(UserError, match=words):
        adjoints(loss, params, X)


def test_what_else_goes_from_step_to_step_is_named() -> None:
    def loss(p: Any, xs: Any) -> Any:
        hs = tanh_layer(p, xs)
        whole = jnp.cumsum(hs, axis=0)
        steps = jnp.cumsum(jnp.ones(len(xs), int))
        return mean_square(whole * steps[:, None, None])

    params = MODELS["plain_scan"]()[1][0]
    with pytest.warns(UserWarning) as caught:
        adjoints(loss, params, X)
    (said,) = [str(one.message) for one in caught]
    lines, start = inspect.getsourcelines(loss)
    number = lambda text: start + next(i for i, x in enumerate(lines) if text in x)
    at = f"{__file__}:{number('whole = ')}"
    assert said.endswith(f"not measured: cumsum ({at})")

    def alone(p: Any, xs: Any) -> Any:
        return mean_square(jnp.cumsum(xs @ p["V"], axis=0))

    with pytest.raises(UserError, match=r"there is cumsum \(.*test_any_program"):
        adjoints(alone, params, X)


def test_a_model_with_a_loss_is_the_same_as_its_loss() -> None:
    cell = nnx.GRUCell(M, N, rngs=nnx.Rngs(0))
    layer = nnx.RNN(cell, time_major=True)
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    answers = lambda p, r, xs: nnx.merge(graph, p, r)(xs)
    one = adjoints(lambda *a: mean_square(answers(*a)[-1]), params, rest, X)
    square = lambda y: jnp.sum(jnp.square(y), -1)
    two = probe(layer, X, lambda y: square(y[-1]), sections=("adjoints",))
    xr.testing.assert_allclose(one, two)

    class Layer(eqx.Module):
        cell: eqx.nn.GRUCell
        size: int

        def __call__(self, xs: Any) -> Any:
            step = lambda h, x: (jax.vmap(self.cell)(x, h), None)
            return lax.scan(step, jnp.zeros((B, self.size)), xs)[0]

    model = Layer(eqx.nn.GRUCell(M, N, key=jax.random.key(3)), N)
    loss, args = MODELS["equinox_gru"]()
    xr.testing.assert_allclose(
        probe(model, X, square, sections=("adjoints",)),
        adjoints(loss, *args),
    )

    class Single(eqx.Module):
        U: jax.Array

        def __call__(self, xs: Any) -> Any:
            step = lambda h, x: (jnp.tanh(h @ self.U + x), None)
            return lax.scan(step, jnp.zeros((B, N)), xs)[0]

    assert probe(Single(jnp.eye(N)), X[..., :N], jnp.square).sizes["layer"] == 1
    with pytest.raises(UserError, match="takes the inputs and a function"):
        probe(layer, X)
    with pytest.raises(UserError, match="must be one real number"):
        probe(model, X)
    with pytest.raises(UserError, match="a model or a loss, not int"):
        probe(3, X)
