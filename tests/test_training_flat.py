"""Parameters as vectors: nothing is lost, and no update changes its meaning."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from rnnjax.training.flat import Form, Vectors
from rnnjax.training.optimizers import OPTIMIZERS, Adam
from rnnjax.training.optimizers.of_optax import matrices
from tests.training_samples import tiny, train


ELEMENTWISE = [name for name, kind in OPTIMIZERS.items() if kind.elementwise]


def drawn(seed: int, *leading: int) -> dict[str, Any]:
    found = np.random.default_rng(seed)
    make = lambda *shape: jnp.asarray(found.normal(size=(*leading, *shape)), float)
    return {
        "kernel": make(4, 3),
        "layers": [make(3), {"scale": make(), "none": None, "empty": make(0, 2)}],
        "steps": jnp.asarray(found.integers(9, size=(*leading, 2)), jnp.int32),
        "alive": jnp.asarray(found.integers(2, size=leading), bool),
    }


def assert_same(one: Any, other: Any, **tolerance: float) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        np.testing.assert_allclose(x, y, rtol=tolerance.get("rtol", 0), atol=0)


@pytest.mark.parametrize("leading", [(), (5,), (5, 2)])
def test_joined_and_split_is_the_same(leading: tuple[int, ...]) -> None:
    tree = drawn(1, *leading)
    form = Form.of(tree, len(leading))
    assert form == Form.of(drawn(2))
    vectors = form.join(tree)
    sizes = {k: v.shape for k, v in vectors.by_dtype.items()}
    assert sizes == {
        "bool": (*leading, 1),
        "float32": (*leading, 16),
        "int32": (*leading, 2),
    }
    assert_same(form.split(vectors), tree)
    assert_same(form.vectors(leading), jax.tree.map(jnp.zeros_like, vectors))


def test_rows_of_stacked_trees_are_the_trees() -> None:
    trees = [drawn(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *trees)
    form = Form.of(stacked, leading=1)
    rows = form.join(stacked)
    for i, tree in enumerate(trees):
        row = jax.tree.map(
            lambda x, i=i: lax.dynamic_index_in_dim(x, i, 0, False), rows
        )
        assert_same(form.split(row), tree)


def test_only_what_has_the_form_is_joined_within_a_state() -> None:
    params: Any = {"a": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    form = Form.of(params)
    state = (
        params,
        jnp.zeros((), jnp.int32),
        {"a": jnp.ones((3, 2)), "b": params["b"]},
    )
    joined: Any = form.join_within((*state, optax.EmptyState()))
    assert isinstance(joined[0], Vectors)
    assert not any(isinstance(x, Vectors) for x in joined[1:])
    assert_same(form.split_within(joined), (*state, optax.EmptyState()))


def test_a_single_array_is_not_confused_with_a_counter() -> None:
    params = jnp.ones(3)
    form, rule = Form.of(params), optax.adam(0.1)
    state = rule.init(params)
    joined: Any = form.join_within(state)
    assert joined[0].count.shape == () and isinstance(joined[0].mu, Vectors)
    assert_same(form.split_within(joined), state)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_rule_does_not_look_at_arrays(name: str) -> None:
    """Four updates of arrays and of the same entries as one vector agree."""
    params: Any = {k: v for k, v in drawn(0).items() if k in ("kernel", "layers")}
    form = Form.of(params)
    rule = OPTIMIZERS[name]().transformation(0.01)
    state = rule.init(params)
    vectors, joined = form.join(params), form.join_within(state)
    start = params
    for step in range(4):
        gradient = {k: drawn(step + 1)[k] for k in params}
        change, state = rule.update(gradient, state, params)
        params = optax.apply_updates(params, change)
        same, joined = rule.update(form.join(gradient), joined, vectors)
        vectors = optax.apply_updates(vectors, same)
    assert_same(form.split(vectors), params, rtol=1e-6)
    assert_same(form.split_within(joined), state, rtol=1e-6)
    assert not np.allclose(params["kernel"], start["kernel"])


@pytest.mark.slow
def test_a_rule_that_looks_at_arrays_sees_them() -> None:
    """lamb scales the step of each array to its norm: it errs if it sees a vector."""
    kind = OPTIMIZERS["lamb"]
    assert not kind.elementwise
    own = {"elementwise": True, "transformation": kind.transformation}
    wrong = type("wrong", (kind,), own)
    (right,) = train(tiny(optimizer=kind(), lr=0.01))
    (other,) = train(tiny(optimizer=wrong(), lr=0.01))
    apart = jax.tree.map(lambda x, y: np.abs(x - y).max(), right.params, other.params)
    assert max(jax.tree.leaves(apart)) > 1e-3


@dataclasses.dataclass(frozen=True)
class Decayed(Adam):
    """A rule of a user's, which sees arrays though that of its base does not."""

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        return optax.adamw(lr, weight_decay=10.0, mask=matrices)


@dataclasses.dataclass(frozen=True)
class Half(Adam):
    """An elementwise rule whose state has another dtype than the parameters."""

    elementwise: ClassVar[bool] = True

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        return optax.adam(lr, mu_dtype=jnp.bfloat16)


@pytest.mark.parametrize("kind", [Decayed, pytest.param(Half, marks=pytest.mark.slow)])
def test_a_rule_of_a_users_is_what_it_is_for_arrays(kind: type[Adam]) -> None:
    plain = type("plain", (kind,), {"elementwise": False})
    (one,) = train(tiny(optimizer=kind(), lr=0.01))
    (other,) = train(tiny(optimizer=plain(), lr=0.01))
    assert_same(one.params, other.params)
    assert (kind is Half) == kind.is_elementwise() and Adam.is_elementwise()
