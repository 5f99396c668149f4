"""What is measured of the loops of a program, beside brute force."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import rnnjax
from rnnjax.analysis.any_program import probe_loss
from rnnjax.errors import UserError
from rnnjax.probes.programs import folding
from rnnjax.probes.programs.arguments import arguments_of
from rnnjax.probes.programs.attribution import reached_by
from rnnjax.probes.programs.program import program_of
from tests.foreign_models import (
    MODELS,
    B,
    M,
    N,
    T,
    X,
    dense,
    mean_square,
    tanh_layer,
    tanh_params,
)


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield


def gradients_by_step(of_copies: Any, params: Any) -> Any:
    """∂L/∂(copy of each parameter that step t uses), flat, ``(T, k)``."""
    copies = jax.tree.map(lambda x: jnp.broadcast_to(x, (T, *x.shape)), params)
    found = jax.grad(of_copies)(copies)
    return jax.tree.map(lambda x: np.asarray(x, np.float64).reshape(T, -1), found)


def test_steps_contribute_to_parameters_outside_of_the_loop() -> None:
    """A projection and an embedding before it, a kernel made from another, a bias.

    The bias is used in the loop and before it; a copy of every parameter for each step
    is the reference.
    """
    params = {
        "embedding": dense(1, 7, M),
        "V": dense(2, M, N),
        "A": dense(3, N, N) / 3,
        "b": 0.1 * dense(4, N),
        "head": dense(5, N, 1),
        "start": 0.3 * dense(6, N),
    }
    tokens = jax.random.randint(jax.random.key(7), (T, B), 0, 7)

    def cayley(A: Any) -> Any:
        S = A - A.T
        return jnp.linalg.solve(jnp.eye(N) + S, jnp.eye(N) - S)

    def run(params: Any, xs: Any, U: Any, b: Any) -> Any:
        def step(h: Any, now: Any) -> Any:
            x, U, b = now
            return jnp.tanh(h @ U + x + b), None

        start = jnp.broadcast_to(params["start"], (B, N))
        return mean_square(lax.scan(step, start, (xs, U, b))[0] @ params["head"])

    def loss(params: Any, tokens: Any) -> Any:
        xs = params["embedding"][tokens] @ params["V"] + params["b"]
        U = cayley(params["A"])
        step = lambda h, x: (jnp.tanh(h @ U + x + params["b"]), None)
        start = jnp.broadcast_to(params["start"], (B, N))
        return mean_square(lax.scan(step, start, xs)[0] @ params["head"])

    def of_copies(each: Any) -> Any:
        rows = [each["embedding"][t][tokens[t]] @ each["V"][t] for t in range(T)]
        xs = jnp.stack(rows) + each["b"][:, None]
        return run(params, xs, jax.vmap(cayley)(each["A"]), each["b"])

    np.testing.assert_allclose(
        loss(params, tokens),
        of_copies(jax.tree.map(lambda x: jnp.broadcast_to(x, (T, *x.shape)), params)),
        rtol=1e-5,
    )
    each = gradients_by_step(of_copies, params)
    seen = probe_loss(loss, params, tokens, sections=("contributions",))
    names = ["A", "V", "b", "embedding"]
    rows = [x for x in seen.parameter.values if x.startswith("loop")]
    assert sorted(rows) == [f"loop0/{name}" for name in names]
    for name in names:
        row, rows = seen.sel(parameter=f"loop0/{name}"), each[name]
        whole, sizes = rows.sum(0), np.linalg.norm(rows, axis=1)
        size = np.linalg.norm(whole)
        close: Any = {"rtol": 2e-4}
        np.testing.assert_allclose(10.0**row.log10_contribution, sizes, **close)
        np.testing.assert_allclose(row.norm_share, sizes / sizes.sum(), **close)
        shares = rows @ whole / size**2
        np.testing.assert_allclose(row.signed_share, shares, rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(10.0**row.log10_gradient, size, **close)
        np.testing.assert_allclose(row.cancellation, size / sizes.sum(), **close)
        left = [np.linalg.norm(rows[: T - 1 - k].sum(0)) / size for k in range(T)]
        np.testing.assert_allclose(row.left_out, left, rtol=2e-4, atol=1e-6)
        held = np.cumsum((sizes / sizes.sum())[::-1])
        assert int(row.k90) == int(np.argmax(held >= 0.9 - 1e-6)) + 1


def test_adjoints_by_lag_are_of_what_is_read_at_the_end() -> None:
    """A loss at every step, beside the loss at the last one alone."""
    params, xs = MODELS["plain_scan"]()[1]
    weights = jnp.linspace(1.0, 2.0, T)[:, None, None]
    every = lambda p, xs: jnp.sum(weights * jnp.square(tanh_layer(p, xs)))
    end = lambda p, xs: jnp.sum(weights[-1] * jnp.square(tanh_layer(p, xs)[-1]))
    both, last = (
        probe_loss(f, params, xs, sections=("adjoints",)) for f in (every, end)
    )
    for name in ("log10_adjoint", "decay", "horizon", "log10_ratio"):
        np.testing.assert_allclose(both[name], last[name], rtol=1e-4, err_msg=name)
    gap = both.log10_total_adjoint - both.log10_adjoint.sel(array="joint")
    assert float(np.abs(gap[:, :-1]).min()) > 1e-3
    np.testing.assert_allclose(gap[:, -1], 0, atol=1e-6)


def test_jacobians_of_a_loop_are_those_of_its_step() -> None:
    """Two arrays, of an LSTM of Haiku's; products by plain multiplication."""
    loss, (params, xs) = MODELS["haiku_lstm"]()
    seen = probe_loss(loss, params, xs, sections=("dynamics",))
    kernel = params["lstm/linear"]

    def step(joint: Any, x: Any) -> Any:
        h, c = jnp.split(joint, 2)
        gates = jnp.concatenate([x, h]) @ kernel["w"] + kernel["b"]
        i, g, f, o = jnp.split(gates, 4)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c])

    for example in range(B):
        joint, factors = jnp.zeros(2 * N), []
        for x in xs[:, example]:
            factors.append(np.asarray(jax.jacobian(step)(joint, x), np.float64))
            joint = step(joint, x)
        norms = [np.linalg.norm(J, 2) for J in factors]
        np.testing.assert_allclose(
            seen.spectral_norm.sel(layer="loop0", sentence=example), norms, rtol=1e-4
        )
        whole = np.linalg.multi_dot(factors[::-1])
        top = np.log(np.linalg.norm(whole, 2)) / T
        np.testing.assert_allclose(
            seen.worst_case_rate.sel(layer="loop0", sentence=example), top, rtol=1e-4
        )


def test_the_gradient_of_an_added_element_is_the_adjoint_of_its_step() -> None:
    """In h_t = a_t h_{t−1} + b_t, as an associative scan: ∂L/∂b_t = ∂L/∂h_t."""

    def loss(p: Any, b: Any) -> Any:
        join = lambda x, y: (y[0] * x[0], y[0] * x[1] + y[1])
        a = jnp.broadcast_to(jax.nn.sigmoid(p), b.shape)
        return mean_square(lax.associative_scan(join, (a, b))[1][-1])

    p, b = dense(1, N), X[..., :N]
    seen = probe_loss(loss, p, b)
    expected = np.linalg.norm(jax.grad(loss, 1)(p, b), axis=-1)[1:]
    found = 10.0 ** seen.log10_adjoint.sel(layer="loop0", array="carry1")
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert "parallel form" in seen.attrs["parallel_form"]
    kept = np.log(jax.nn.sigmoid(p))
    np.testing.assert_allclose(seen.log_retention[0], np.tile(kept, 2), rtol=1e-4)


def test_a_scan_of_what_is_not_associative_is_warned_about() -> None:
    loss = lambda p, x: mean_square(
        lax.associative_scan(lambda a, b: jnp.tanh(a * p + b), x)[-1]
    )
    with pytest.warns(UserWarning, match="its function is not associative"):
        probe_loss(loss, dense(1, N), X[..., :N], sections=("adjoints",))


def test_without_the_private_layout_a_drop_in_is_measured(monkeypatch: Any) -> None:
    import contextlib

    @contextlib.contextmanager
    def nowhere(function: Any) -> Any:
        yield False

    monkeypatch.setattr(folding, "associative_scan_is", nowhere)
    of = lambda scan: lambda p, x: mean_square(scan(jnp.multiply, p * x)[-1])
    args = dense(1, N), X[..., :N]
    with pytest.raises(UserError, match="there is associative_scan"):
        probe_loss(of(lax.associative_scan), *args)
    loss = of(folding.associative_scan)
    assert probe_loss(loss, *args, sections=("adjoints",)).sizes["layer"] == 1
    np.testing.assert_allclose(loss(*args), of(lax.associative_scan)(*args))


def test_a_parameter_that_is_an_imaginary_part_has_a_row() -> None:
    def loss(p: Any, xs: Any) -> Any:
        rows = xs @ (p["re"] + 1j * p["im"])
        h = lax.scan(lambda h, x: (0.9 * h + x, None), 0 * rows[0], rows)[0]
        return mean_square(jnp.abs(h))

    params = {"re": dense(1, M, N), "im": dense(2, M, N)}
    seen = probe_loss(loss, params, X, sections=("contributions",))
    for name, known in jax.grad(loss)(params, X).items():
        row = seen.sel(parameter=f"loop0/{name}")
        np.testing.assert_allclose(
            10.0**row.log10_gradient, np.linalg.norm(known), rtol=1e-4
        )
        assert float(row.signed_share.sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("apart", [True, False])
def test_a_step_alone_gives_what_all_steps_give(apart: bool) -> None:
    """A projection before the loop, and one whose steps a reshape has put together."""
    loss, (params, xs) = MODELS["plain_scan"]()

    def before(p: Any, xs: Any) -> Any:
        rows = xs @ p["V"] if apart else (xs.reshape(-1, M) @ p["V"]).reshape(T, B, N)
        step = lambda h, x: (jnp.tanh(h @ p["U"] + x + p["b"]), None)
        return mean_square(lax.scan(step, jnp.zeros((B, N)), rows)[0])

    given = arguments_of((params, xs))
    program = program_of(before, given)
    places = list(given.names(0))
    ran = program.forward(given.arrays)[1]
    assert reached_by(program, given.arrays, ran, places)[0].apart == apart
    one, two = (
        probe_loss(f, params, xs, sections=("contributions",)) for f in (loss, before)
    )
    for name in ("log10_contribution", "signed_share", "left_out"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5)


def test_a_parameter_that_reaches_a_loop_by_its_first_state_has_no_row() -> None:
    """Of what the first layer projects, its fold hands on the first element."""
    loss, args = MODELS["state_space_in_parallel"]()
    seen = probe_loss(loss, *args, sections=("contributions",))
    names = ["loop0/0/V", "loop0/0/a", "loop1/0/C", "loop1/1/V", "loop1/1/a"]
    rows = [x for x in seen.parameter.values if x.startswith("loop")]
    assert sorted(rows) == names
    assert np.isfinite(seen.log10_gradient).all()
    whole = jax.grad(loss)(*args)[0]["V"]
    found = seen.log10_gradient.sel(parameter="0/V")
    np.testing.assert_allclose(10.0**found, np.linalg.norm(whole), rtol=1e-4)
    assert np.isnan(seen.k90.sel(parameter="0/V"))


def test_truncation_of_a_reversed_loop_counts_from_its_end() -> None:
    loss, args = MODELS["bidirectional_pair"]()
    flipped = lambda p, xs: loss(p[::-1], xs[::-1])
    one, two = (
        probe_loss(f, *args, sections=("contributions",)) for f in (loss, flipped)
    )
    np.testing.assert_allclose(
        one.left_out.sel(parameter="loop1/1/U"),
        two.left_out.sel(parameter="loop0/1/U"),
        rtol=1e-3,
        atol=1e-6,
    )
    assert float(one.left_out.sel(parameter="loop1/1/U")[0]) > 0.1


def test_k90_counts_steps_from_the_end_of_the_loop_zeros_included() -> None:
    """Gradients of size 1, 0, 0, 8, 0, 0 or the like: the last 6 steps hold 90 %."""
    sizes = jnp.array([2.0, 0.0, 0.0, 8.0, 0.0, 0.0])

    def loss(reverse: bool) -> Any:
        def of(p: Any, sizes: Any) -> Any:
            step = lambda h, s: (h + s * jnp.sum(p), None)
            return lax.scan(step, 0.0, sizes, reverse=reverse)[0]

        return of

    for reverse, expected in ((False, 6), (True, 4)):
        seen = probe_loss(
            loss(reverse), jnp.ones(3), sizes, sections=("contributions",)
        )
        assert int(seen.k90.sel(parameter="loop0/params")) == expected


def test_a_complex_diagonal_state_has_a_retention_and_spectra() -> None:
    """The linear recurrent unit: Jacobians of real and imaginary parts."""
    angle = jnp.linspace(0.1, 1.0, N)
    size = jnp.linspace(0.5, 0.99, N)

    def loss(p: Any, xs: Any) -> Any:
        step = lambda h, x: (size * jnp.exp(1j * angle * p) * h + x, None)
        h = lax.scan(step, jnp.zeros((B, N), complex), xs + 0j)[0]
        return mean_square(jnp.real(h))

    seen = probe_loss(loss, 1.0, X[..., :N])
    np.testing.assert_allclose(seen.log_retention[0], np.log(size), rtol=1e-4)
    np.testing.assert_allclose(seen.spectral_norm, size.max(), rtol=1e-5)
    values = np.sort(np.repeat(size, 2))[::-1]
    np.testing.assert_allclose(seen.singular_value[0, 0, 0], values, rtol=1e-5)


def test_spectra_of_a_step_with_a_rule_without_forward_derivative() -> None:
    @jax.custom_vjp
    def through(h: Any) -> Any:
        return jnp.sign(h)

    through.defvjp(lambda h: (jnp.sign(h), h), lambda h, d: (d / (1 + h**2),))

    def loss(p: Any, xs: Any) -> Any:
        step = lambda h, x: (0.5 * h + through(h @ p + x), None)
        return mean_square(lax.scan(step, jnp.zeros((B, N)), xs)[0])

    p = dense(1, N, N)
    seen = probe_loss(loss, p, X[..., :N])
    drive = np.asarray(X[0, 0, :N])  # the first state is 0
    J = 0.5 * np.eye(N) + np.asarray(p).T / (1 + drive**2)[:, None]
    np.testing.assert_allclose(
        seen.spectral_norm[0, 0, 0], np.linalg.norm(J, 2), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"params": 2}, "params=2, but the loss has 2 arguments"),
        ({"examples": 7}, "examples=7, but no loop treats so many examples apart"),
        ({"batch": 3}, "probe has no option 'batch', and arguments of a loss go by"),
        ({"sections": ["spectra"]}, "no section 'spectra'"),
    ],
)
def test_wrong_options_are_named(change: Any, words: str) -> None:
    loss, args = MODELS["plain_scan"]()
    with pytest.raises(UserError, match=words):
        rnnjax.probe(loss, *args, **change)


def test_why_no_loop_runs_is_said() -> None:
    p = tanh_params(2)
    empty = lambda p, xs: mean_square(tanh_layer(p, xs[:0])) + jnp.sum(p["b"])
    with pytest.raises(UserError, match=r"foreign_models.py:\d+ has no steps"):
        probe_loss(empty, p, X)

    def untaken(p: Any, xs: Any) -> Any:
        run = lambda: tanh_layer(p, xs)[-1]
        return mean_square(lax.cond(xs[0, 0, 0] > 9, run, lambda: xs[0, :, :N]))

    with pytest.raises(UserError, match="lies in a branch that is not taken"):
        probe_loss(untaken, p, X)

    def called_back(p: Any, xs: Any) -> Any:
        shape = jax.ShapeDtypeStruct((B, N), jnp.float32)
        outside = lambda h: jax.pure_callback(np.tanh, shape, h)
        step = lambda h, x: (outside(h @ p["U"] + x @ p["V"]), None)
        return mean_square(lax.scan(step, jnp.zeros((B, N)), xs)[0])

    with pytest.raises(UserError, match=r"quantities.py:\d+: JAX cannot differentiate"):
        probe_loss(called_back, p, X)


def test_loops_inside_of_an_unrolled_one_are_measured_for_each_of_its_steps() -> None:
    """A scan over layers, each a scan over time, beside two layers written out."""
    kernels = jnp.stack([dense(1, N, N), dense(2, N, N)])
    layer = lambda U, xs: tanh_layer({"U": U, "V": jnp.eye(N), "b": 0.0}, xs)
    stacked = lambda k, xs: mean_square(
        lax.scan(lambda hs, U: (layer(U, hs), None), xs, k)[0][-1]
    )
    plain = lambda k, xs: mean_square(layer(k[1], layer(k[0], xs))[-1])
    args = kernels, X[..., :N]
    outer = probe_loss(stacked, *args, sections=("adjoints",))
    assert "loop0/loop0" in outer.attrs["loops"] and outer.sizes["layer"] == 1
    sections = ("adjoints", "contributions")
    inner = probe_loss(stacked, *args, unroll=["loop0"], sections=sections)
    expected = probe_loss(plain, *args, sections=sections)
    names = ["loop0[0]/loop0", "loop0[1]/loop0"]
    assert inner.layer.values.tolist() == names
    for name in ("log10_adjoint", "log10_total_adjoint", "log10_contribution"):
        np.testing.assert_allclose(inner[name], expected[name], atol=1e-5)
    back = lambda k, xs: mean_square(
        lax.scan(lambda hs, U: (layer(U, hs), None), xs, k, reverse=True)[0][-1]
    )
    flipped = kernels[::-1], args[1]
    turned = probe_loss(back, *flipped, unroll=["loop0"], sections=("adjoints",))
    for name in names:  # the second kernel is now the first one of the array
        other = names[1 - names.index(name)]
        np.testing.assert_allclose(
            turned.log10_adjoint.sel(layer=other),
            inner.log10_adjoint.sel(layer=name),
            atol=1e-5,
        )
    with pytest.raises(UserError, match="no loop 'loop3' to unroll; "):
        probe_loss(stacked, *args, unroll=["loop3"])
    with pytest.raises(UserError, match="has no loop inside"):
        probe_loss(plain, *args, unroll=["loop0"])


def test_a_rule_around_a_loop_that_is_another_derivative_is_said() -> None:
    """A rule that is the derivative passes; one that truncates is compared."""
    run = lambda p, xs: tanh_layer(p, xs)[-1]

    def ruled(scale: float) -> Any:
        layer = jax.custom_vjp(run)
        back = lambda kept, d: jax.tree.map(
            lambda x: scale * x, jax.vjp(run, *kept)[1](d)
        )
        layer.defvjp(lambda *args: (run(*args), args), back)
        return lambda p, xs: mean_square(layer(p, xs))

    args = tanh_params(2), X
    plain = probe_loss(
        lambda p, xs: mean_square(run(p, xs)), *args, sections=("adjoints",)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe_loss(ruled(1.0), *args, sections=("adjoints",))
    words = r"custom derivative rule around .*foreign_models.*differ by 50 %"
    with pytest.warns(UserWarning, match=words):
        seen = probe_loss(ruled(0.5), *args, sections=("adjoints",))
    np.testing.assert_allclose(seen.log10_adjoint, plain.log10_adjoint, atol=1e-5)


def test_a_fixed_point_with_an_implicit_gradient_is_compared_with_it() -> None:
    """JAX has a gradient by the rule; that of the unrolled loop is nearly the same."""

    @jax.custom_vjp
    def fixed(p: Any, x: Any) -> Any:
        def goes_on(now: Any) -> Any:
            return (jnp.max(jnp.abs(now[0] - now[1])) > 1e-6) & (now[2] < 60)

        step = lambda now: (jnp.tanh(now[0] @ p / 3 + x), now[0], now[2] + 1)
        return lax.while_loop(goes_on, step, (0.5 * x, x, 0))[0]

    def forward(p: Any, x: Any) -> Any:
        h = fixed(p, x)
        return h, (p, x, h)

    def implicit(scale: float, kept: Any, d: Any) -> Any:
        p, x, h = kept
        pull_h = jax.vjp(lambda h: jnp.tanh(h @ p / 3 + x), h)[1]
        w = d
        for _ in range(60):
            w = d + pull_h(w)[0]
        found = jax.vjp(lambda p, x: jnp.tanh(h @ p / 3 + x), p, x)[1](w)
        return jax.tree.map(lambda x: scale * x, found)

    args = dense(1, N, N), X[0, :, :N]
    loss = lambda p, x: mean_square(fixed(p, x))
    fixed.defvjp(forward, lambda *a: implicit(1.0, *a))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = probe_loss(loss, *args, sections=("adjoints",))
    assert int(seen.length[0]) > 5
    fixed.defvjp(forward, lambda *a: implicit(1.1, *a))
    with pytest.warns(UserWarning, match="gradients differ by 10 %"):
        probe_loss(lambda p, x: loss(p, x), *args, sections=("adjoints",))


def test_loops_of_an_implicit_solver_are_left_to_it() -> None:
    def loss(p: Any, xs: Any) -> Any:
        h = tanh_layer(p, xs)[-1]
        spd = p["U"] @ p["U"].T + jnp.eye(N)
        return mean_square(jax.scipy.sparse.linalg.cg(lambda y: y @ spd, h)[0])

    with pytest.warns(UserWarning, match="a while loop"):
        seen = probe_loss(loss, tanh_params(2), X, sections=("adjoints",))
    assert seen.sizes["layer"] == 1


def test_what_bypasses_every_loop_has_a_share_and_a_warning() -> None:
    params = tanh_params(2, N)

    def loss(skip: float) -> Any:
        return lambda p, xs: mean_square(tanh_layer(p, xs)[-1] + skip * xs.sum(0))

    xs = X[..., :N]
    assert probe_loss(loss(0.0), params, xs, sections=("adjoints",)).bypass == 0
    with pytest.warns(UserWarning, match="% of the gradient at the inputs bypasses"):
        seen = probe_loss(loss(1.0), params, xs, sections=("adjoints",))
    whole = jax.grad(loss(1.0), 1)(params, xs)
    stopped = lambda xs: mean_square(
        lax.stop_gradient(tanh_layer(params, xs)[-1]) + xs.sum(0)
    )
    past = jax.grad(stopped)(xs)
    a, b = (float(np.linalg.norm(x)) for x in (past, whole - past))
    assert float(seen.bypass) == pytest.approx(a / (a + b), rel=1e-4)


def test_the_gradient_at_the_inputs_of_a_loop() -> None:
    loss, (params, xs) = MODELS["loss_at_every_step"]()
    seen = probe_loss(loss, params, xs, sections=("adjoints",))
    expected = np.linalg.norm(jax.grad(loss, 1)(params, xs), axis=-1)
    found = 10.0 ** seen.log10_input_gradient.sel(layer="loop0")
    np.testing.assert_allclose(found, expected, rtol=1e-5)
