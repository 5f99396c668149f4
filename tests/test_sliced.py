"""One step of what stands before a loop, beside all steps at once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.probes.programs.sliced import sliced
from tests.foreign_models import B, M, N, T, X, dense


TOKENS = jax.random.randint(jax.random.key(1), (T, B), 0, 7)
PARAMS = {"V": dense(1, M, N), "b": dense(2, N), "E": dense(3, 7, M)}


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield


APART: dict[str, Any] = {
    "a product": lambda p: X @ p["V"],
    "a product and a bias": lambda p: X @ p["V"] + p["b"],
    "two layers": lambda p: jnp.tanh(X @ p["V"] + p["b"]) @ p["V"].T,
    "a swapped product": lambda p: jnp.einsum("mn,tbm->tnb", p["V"], X),
    "an embedding": lambda p: p["E"][TOKENS] @ jax.jit(lambda v: v * 2)(p["V"]),
    "a parameter alone times data": lambda p: X * p["E"][0],
    "under jit": lambda p: jax.jit(lambda v: jax.nn.sigmoid(X @ v))(p["V"]),
}
MIXED: dict[str, Any] = {
    "a sum over time": lambda p: jnp.cumsum(X @ p["V"], axis=0),
    "a shift": lambda p: jnp.roll(X @ p["V"], 1, axis=0),
    "attention": lambda p: jnp.einsum("tbm,sbm,sbn->tbn", X, X, X @ p["V"]),
    "a reshape": lambda p: (X.reshape(T * B, M) @ p["V"]).reshape(T, B, N),
    "no data": lambda p: jnp.broadcast_to(p["b"], (T, B, N)),
}


@pytest.mark.parametrize("name", APART)
def test_a_step_is_that_of_all_steps(name: str) -> None:
    of = lambda p: [APART[name](p)]
    leaves, tree = jax.tree.flatten(PARAMS)
    whole = of(PARAMS)[0]
    flat = jax.make_jaxpr(lambda own: of(jax.tree.unflatten(tree, own)))(leaves)
    one = sliced(flat, T)
    assert one is not None
    each = jax.jit(lambda own: jax.lax.map(lambda t: one(own, t)[0], jnp.arange(T)))
    np.testing.assert_allclose(each(leaves), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MIXED)
def test_what_may_mix_steps_is_not_cut(name: str) -> None:
    leaves, tree = jax.tree.flatten(PARAMS)
    of = lambda own: [MIXED[name](jax.tree.unflatten(tree, own))]
    assert sliced(jax.make_jaxpr(of)(leaves), T) is None
