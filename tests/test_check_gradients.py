"""Which argument, which lag, which mistake: hand-written gradients, right and wrong."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rnnjax.checking.arguments import from_shapes, layout
from rnnjax.checking.comparison import TINY, ByLag
from rnnjax.checking.gradient_rows import pattern
from rnnjax.checking.gradients import GradientCheck
from rnnjax.checking.mistakes import _truncated
from rnnjax.checking.primal import has_own_rules, primal_of
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.testing import check_gradients
from tests.gradient_kernels import FAULTS, leaky, leaky_args, leaky_kernel
from tests.right_kernels import RIGHT


LENGTHS = (1, 2, 9)


@pytest.fixture(autouse=True)
def _as_users_write() -> Iterator[None]:
    """Kernels of users add vectors to matrices, which other tests refuse."""
    with jax.numpy_rank_promotion("allow"):
        yield


@functools.cache
def checked(fault: str | None) -> GradientCheck:
    return check_gradients(leaky_kernel(fault), leaky, leaky_args, lengths=LENGTHS)


def test_a_right_kernel_raises_no_alarm():
    found = checked(None)
    assert found.passed, str(found)
    assert found.arguments == found.lengths == found.kinds == ()
    assert found.from_lag is None
    groups = {row.group for row in found.rows}
    assert groups >= {"values", "reference", "arguments", "lags", "state", "second"}


SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)
QUICK = ("reset ignored",)


@pytest.mark.parametrize(
    "fault", [name if name in QUICK else SLOW(name) for name in FAULTS]
)
def test_a_mistake_is_named(fault: str):
    kind, arguments, lag = FAULTS[fault]
    found = checked(fault)
    assert not found.passed
    assert kind in found.kinds, str(found)
    assert set(found.arguments) == set(arguments)
    if lag is not None:
        assert found.from_lag == lag
    if arguments:
        assert max(LENGTHS) in found.lengths
        with pytest.raises(AssertionError, match="does not pass"):
            found.raise_if_failed()


def test_without_a_reference_the_forward_pass_is_differentiated():
    kernel = jax.jit(leaky_kernel("sign of b"))
    arguments = leaky_args(0, 3)
    assert has_own_rules(kernel, arguments)
    plain = primal_of(kernel)
    loss = lambda f, p: jnp.sum(jnp.square(f(p, *arguments[1:])[1]))
    right = jax.grad(lambda p: loss(leaky, p))(arguments[0])
    found = jax.grad(lambda p: loss(plain, p))(arguments[0])
    for name in right:
        np.testing.assert_allclose(found[name], right[name], rtol=1e-5)


SMALL = "{U: 2x2, V: 1x2} 1x2 Tx1x1"


def elman(params: Any, h0: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(h @ params["U"] + x @ params["V"])
        return h, h

    return lax.scan(step, h0, xs)


def test_finite_differences_are_the_reference_where_nothing_can_be_derived():
    """A foreign function; and what has no rule, but is cut by `stop_gradient`."""

    @jax.custom_vjp
    def foreign(z: Any) -> Any:
        return jax.pure_callback(np.tanh, z, z, vmap_method="sequential")

    foreign.defvjp(lambda z: (foreign(z),) * 2, lambda y, d: (d * (1 - y * y),))

    def outside(params: Any, h0: Any, xs: Any) -> Any:
        last, hs = elman(params, h0, xs)
        return last, foreign(hs)

    found = check_gradients(outside, None, SMALL, lengths=(1, 3))
    assert found.passed, str(found)
    assert "finite differences" in found.rows[1].found

    def cut(params: Any, h0: Any, xs: Any) -> Any:
        step = lambda h, x: (elman(params, lax.stop_gradient(h), x[None])[0],) * 2
        return lax.scan(step, h0, xs)

    found = check_gradients(cut, None, SMALL, lengths=(1, 3))
    assert found.arguments == ("U", "V", "h0", "xs")
    assert (found.from_lag, found.kinds) == (1, ("truncated",))
    assert found.lengths == (1, 3)


def test_finite_differences_of_rounded_values_are_refused():
    def single(params: Any, h0: Any, xs: Any) -> Any:
        down = jax.tree.map(lambda x: x.astype(jnp.float32), (params, h0, xs))
        return jax.tree.map(lambda y: y.astype(xs.dtype), elman(*down))

    with pytest.raises(UserError, match="not smooth in double precision"):
        check_gradients(single, None, SMALL, lengths=(1, 3))


def test_finite_differences_follow_the_convention_of_complex_numbers():
    def rotated(a: Any, h0: Any, xs: Any) -> Any:
        step = lambda h, x: ((h * a + x) * jnp.conj(a), jnp.real(h * h))
        return lax.scan(step, h0, xs)

    shapes = "2:complex64 1x2:complex64 Tx1x2:complex64"
    found = check_gradients(rotated, None, shapes, lengths=(1, 3))
    assert found.passed, str(found)


def test_a_rule_of_tangents_is_taken_away_too():
    """The user's own, in a branch; not that of `jax.nn.relu`."""

    @jax.custom_jvp
    def bent(z: Any) -> Any:
        return jnp.tanh(z)

    bent.defjvp(lambda z, dz: (jnp.tanh(z[0]), dz[0]))

    def kernel(xs: Any) -> Any:
        return lax.cond(xs[0] > 0, bent, jax.nn.relu, xs)

    xs = jnp.asarray([0.5, 0.25])
    assert has_own_rules(kernel, [xs]) and not has_own_rules(jax.nn.relu, [xs])
    slopes = jax.grad(lambda x: jnp.sum(primal_of(kernel)(x)))(xs)
    np.testing.assert_allclose(slopes, 1 - np.tanh(xs) ** 2, rtol=1e-6)
    assert jax.grad(lambda x: jnp.sum(kernel(x)))(xs).tolist() == [1, 1]


def test_a_kernel_that_fails_at_some_lengths_has_a_row_that_says_so():
    def windowed(params: Any, h0: Any, xs: Any) -> Any:
        if len(xs) < 3:
            raise ValueError("a window of 3 steps does not fit")
        return elman(params, h0, xs)

    found = check_gradients(windowed, elman, SMALL, lengths=(1, 2, 3, 6))
    [row] = found.failures
    assert (row.name, row.group) == ("fails at T = 1, 2", "lengths")
    assert "a window of 3 steps" in row.found
    found = check_gradients(windowed, elman, SMALL, lengths=(1, 2))
    assert len(found.failures) == 1 and found.lengths == (1, 2)


def test_rules_are_taken_away_within_loops():
    @jax.custom_vjp
    def double(x: Any) -> Any:
        return 2 * x

    double.defvjp(lambda x: (2 * x, None), lambda _, d: (7 * d,))

    def kernel(xs: Any) -> Any:
        return lax.scan(lambda c, x: (double(c) + x, c), jnp.zeros(()), xs)

    plain = primal_of(kernel)
    xs = jnp.arange(3.0)
    assert jax.grad(lambda x: kernel(x)[0])(xs).tolist() == [49, 7, 1]
    assert jax.grad(lambda x: plain(x)[0])(xs).tolist() == [4, 2, 1]


def test_different_functions_are_told_before_gradients():
    def other(*arguments: Any) -> Any:
        last, hs = leaky(*arguments)
        return last, hs * 1.001

    found = check_gradients(other, leaky, leaky_args, lengths=(1, 3))
    assert [row.group for row in found.failures] == ["values"]
    assert "make the values agree first" in found.failures[0].hint


def test_the_layout_is_found_from_shapes():
    at = layout(leaky, leaky_args)
    assert at.names == ("U", "V", "a", "b", "h0", "xs")
    assert at.times == (None,) * 5 + (0,)
    assert at.outputs == (None, 0)
    assert [at.names[i] for i in at.state] == ["h0"]
    assert len(at.flags) == 1


def test_shapes_as_text():
    made = from_shapes("{U: 8x8, b: 8} 4x8:complex64 Tx4x3:bfloat16")(0, 6)
    assert made[0]["U"].shape == (8, 8) and made[0]["b"].shape == (8,)
    assert made[1].dtype == np.complex64
    assert made[2].shape == (6, 4, 3) and made[2].dtype == jnp.bfloat16
    for text, message in (
        ("8x8", "gives no sequence"),
        ("Txa", "is no shape"),
        ("Tx3:float31", "is no shape"),
    ):
        with pytest.raises(UserError, match=message):
            from_shapes(text)


def test_lengths_in_words():
    assert pattern([1, 2, 3], [1, 2, 3]) == "wrong at every length"
    assert pattern([1, 63, 64, 65, 129], [63, 65, 129, 1]).endswith("multiple of 64")
    assert pattern([1, 2, 3, 4], [2, 3]) == "wrong at T = 2, 3, right at 1, 4"


@pytest.mark.slow
@pytest.mark.parametrize("label", RIGHT)
def test_right_layers_of_other_libraries_raise_no_alarm(label: str):
    layer, plain, make = RIGHT[label]()
    found = check_gradients(layer, plain, make, lengths=(1, 6))
    assert found.passed, str(found)


def test_a_backward_pass_of_another_shape_is_a_row_that_names_the_arguments():
    @jax.custom_vjp
    def kernel(params: Any, h0: Any, xs: Any) -> Any:
        return elman(params, h0, xs)

    kernel.defvjp(lambda *a: (elman(*a), a), lambda kept, d: kept[:2])
    [row] = check_gradients(kernel, elman, SMALL, lengths=(1, 3)).failures
    assert row.name == "fails at T = 1, 3"
    assert row.hint.endswith("arguments: U, V, h0, xs")


def test_what_does_not_fit_is_an_error_of_one_sentence():
    @jax.custom_vjp
    def forgotten(params: Any, h0: Any, xs: Any) -> Any:
        return elman(params, h0, xs)

    for kernel, args, message in (
        (elman, "1x2 Tx1x1", "there are 2 arguments, but elman takes params, h0, xs"),
        (elman, "{U: 2x3, V: 1x2} 1x2 Tx1x1", "elman fails with these arguments"),
        (forgotten, SMALL, r"write forgotten\.defvjp\(forward, backward\)"),
    ):
        with pytest.raises(UserError, match=message):
            check_gradients(kernel, elman, args, lengths=(1, 3))


FILE = """
from tests.gradient_kernels import leaky, leaky_args, leaky_kernel

right = leaky_kernel()
wrong = leaky_kernel("a dropped")
wrong_args = leaky_args
"""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr("rnnjax.checking.gradients.LENGTHS", (1, 3))
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    words = ["check", f"{file}:wrong", "--reference", "leaky"]
    assert main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    failed = {row["name"] for row in found["rows"] if row["verdict"] == "failed"}
    assert failed >= {"a", "dropped"}
    for more, message in (
        ([f"{file}:right"], "needs arguments"),
        ([f"{file}:rong"], "did you mean wrong"),
        ([f"{tmp_path}/none.py:f"], "there is no file"),
        (["lstn"], "did you mean lstm"),
        ([f"{file}:right", "--args", "nothing"], "has no 'nothing'"),
        (["lstm", "--args", "Tx3"], "--args is for functions"),
    ):
        assert main(["check", *more]) == 2
        assert message in capsys.readouterr().err


def test_a_truncated_gradient_is_one_where_the_right_one_underflows_too():
    """Far back the reference is too small to be told from zero."""
    size = 10.0 ** -(2.0 * np.arange(30))
    zero = (np.arange(30) >= 8) & (size > TINY)
    lags = ByLag("xs", np.zeros(30), size, zero, zero)
    [found] = _truncated(SimpleNamespace(lags=[lags], right_lag=2))  # pyright: ignore
    assert found.kind == "truncated" and "after 8 steps" in found.sentence
