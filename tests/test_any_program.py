"""Any JAX program: its loops against plain autodiff, and what is refused."""

import inspect
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
from rnnjax.probes.programs.loop_walk import floats
from rnnjax.probes.programs.loops import OPENED, as_loop, is_loop, refuse
from rnnjax.probes.programs.whole import program_of
from rnnjax.recurrence.jaxprs import play
from tests.foreign_models import MODELS, B, M, N, X, mean_square, tanh_layer


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield


def adjoint_norms(loss: Any, args: Any) -> list[np.ndarray]:
    """log10 ‖∂L/∂carry‖ of every loop by plain autodiff, all examples together.

    Zeros are added to the carry after each step, and to outputs that are the carry.
    """
    program, leaves = program_of(loss, args), jax.tree.leaves(args)
    loops = []

    def find(equation: Any, values: Any) -> Any:
        loops.append((equation, values))
        return equation.primitive.bind(*values, **equation.params)

    play(program.closed, leaves, is_loop, OPENED, find, refuse)
    taps = []
    for equation, values in loops:
        loop = as_loop(equation, 0)
        start = values[loop.constants :][: loop.carry]
        taps.append([jnp.zeros((loop.length, *start[i].shape)) for i in floats(start)])

    def tapped(taps: Any) -> Any:
        waiting = iter(taps)

        def at(equation: Any, values: Any) -> Any:
            loop = as_loop(equation, 0)
            constants, rest = values[: loop.constants], values[loop.constants :]
            places = floats(rest[: loop.carry])

            def step(carry: Any, now: Any) -> Any:
                x, tap = now
                out = list(loop.step(*constants, *carry, *x))
                for place, zero in zip(places, tap, strict=True):
                    out[place] = out[place] + zero
                for number, same in enumerate(loop.same):
                    if same is not None:
                        out[loop.carry + number] = out[same]
                return out[: loop.carry], out[loop.carry :]

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


@pytest.mark.parametrize("label", MODELS)
def test_adjoints_and_gradients_are_those_of_autodiff(label: str) -> None:
    """The gradient of the parameters is compared with JAX's within the probe."""
    loss, args = MODELS[label]()
    seen = probe_loss(loss, *args)
    expected = adjoint_norms(loss, args)
    assert len(expected) == seen.sizes["layer"]
    found = seen.log10_total_adjoint.values
    for rows, known in zip(found, expected, strict=True):
        rows = rows[: len(known), ~np.isnan(rows[0])]
        with np.errstate(divide="ignore"):  # an adjoint may be exactly zero
            joint = 0.5 * np.log10(np.sum(10 ** (2 * rows), axis=1))
        np.testing.assert_allclose(joint, known, atol=2e-5)
    assert seen.attrs["loops"].count("foreign_models.py") == len(expected)


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
    seen = probe_loss(loss, *arguments).log10_total_adjoint.values[0]
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


def test_double_precision_keeps_ten_digits() -> None:
    with jax.enable_x64(True):
        loss, args = MODELS["attention_between"]()
        args = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), args)
        (first, second) = adjoint_norms(loss, args)
        seen = probe_loss(loss, *args).log10_total_adjoint.values
    for rows, known in zip(seen, (first, second), strict=True):
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

    args = jnp.eye(N) / 2, X[..., :N]
    apart, mixed = (probe_loss(loss(mix), *args) for mix in (False, True))
    assert apart.sizes["example"] == B and f"{B} examples" in apart.attrs["loops"]
    assert mixed.sizes["example"] == 1
    assert "one exponent a step" in mixed.attrs["loops"]


def test_a_square_state_does_not_confuse_units_with_examples() -> None:
    xs = X[:, :, :B]
    loss = lambda p, xs: mean_square(
        lax.scan(lambda h, x: (jnp.tanh(h @ p + x), None), jnp.zeros((B, B)), xs)[0]
    )
    seen = probe_loss(loss, jnp.eye(B) / 2, xs)
    (expected,) = adjoint_norms(loss, (jnp.eye(B) / 2, xs))
    joint = 0.5 * np.log10(np.sum(10 ** (2 * seen.log10_total_adjoint.values[0]), 1))
    np.testing.assert_allclose(joint, expected, atol=2e-5)
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


def _in_a_branch(p: Any, xs: Any) -> Any:
    return lax.cond(
        xs[0, 0, 0] > 0, lambda: mean_square(tanh_layer(p, xs)), lambda: 0.0
    )


def _in_a_map(p: Any, xs: Any) -> Any:
    return jnp.mean(
        lax.map(lambda x: mean_square(tanh_layer(p, x)), jnp.swapaxes(xs, 0, 1))
    )


def _no_number(p: Any, xs: Any) -> Any:
    return tanh_layer(p, xs)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (_no_loop, "no lax.scan with a state of floats"),
        (_in_a_branch, "foreign_models.py:\\d+: a loop inside a branch"),
        (_in_a_map, "foreign_models.py:\\d+: a loop inside another loop"),
        (_no_number, "must be one real number"),
    ],
)
def test_what_cannot_be_walked_is_refused_in_one_sentence(
    loss: Any, words: str
) -> None:
    params = MODELS["plain_scan"]()[1][0]
    with pytest.raises(UserError, match=words):
        probe_loss(loss, params, X)


def test_what_else_goes_from_step_to_step_is_named() -> None:
    def loss(p: Any, xs: Any) -> Any:
        hs = tanh_layer(p, xs)
        pairs = (jnp.full_like(hs, 0.9), hs)
        join = lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1])
        whole = lax.associative_scan(join, pairs)[1] + jnp.cumsum(hs, axis=0)
        steps = jnp.cumsum(jnp.ones(len(xs), int))
        return mean_square(whole * steps[:, None, None])

    params = MODELS["plain_scan"]()[1][0]
    with pytest.warns(UserWarning) as caught:
        probe_loss(loss, params, X)
    (said,) = [str(one.message) for one in caught]
    lines, start = inspect.getsourcelines(loss)
    number = lambda text: start + next(i for i, x in enumerate(lines) if text in x)
    at = f"{__file__}:{number('whole = ')}"
    assert said.endswith(f"not measured: associative_scan ({at}), cumsum ({at})")

    def alone(p: Any, xs: Any) -> Any:
        return mean_square(jnp.cumsum(xs @ p["V"], axis=0))

    with pytest.raises(UserError, match=r"there is cumsum \(.*test_any_program"):
        probe_loss(alone, params, X)


def test_a_model_with_a_loss_is_the_same_as_its_loss() -> None:
    cell = nnx.GRUCell(M, N, rngs=nnx.Rngs(0))
    layer = nnx.RNN(cell, time_major=True)
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    answers = lambda p, r, xs: nnx.merge(graph, p, r)(xs)
    one = probe_loss(lambda *a: mean_square(answers(*a)[-1]), params, rest, X)
    two = probe(layer, X, lambda y: jnp.sum(jnp.square(y[-1]), -1))
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
        probe(model, X, lambda h: jnp.sum(jnp.square(h), -1)).drop_vars("parameter"),
        probe_loss(loss, *args).drop_vars("parameter"),
    )
    with pytest.raises(UserError, match="takes the inputs and a function"):
        probe(model, X)
    with pytest.raises(UserError, match="a model or a loss, not int"):
        probe(3, X)
