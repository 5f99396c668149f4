"""Models as their libraries document them, each as a loss and its arguments."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.random import key, normal


T, B, M, N = 9, 3, 5, 4

Model = tuple[Callable[..., Any], tuple[Any, ...]]

X = normal(key(1), (T, B, M))
"""Inputs, time first."""

MODELS: dict[str, Callable[[], Model]] = {}
"""Makers of (loss, arguments) by name; the parameters come first."""


def model(make: Callable[[], Model]) -> Callable[[], Model]:
    MODELS[make.__name__] = make
    return make


def dense(seed: int, *shape: int) -> jax.Array:
    return normal(key(seed), shape) / shape[0] ** 0.5


def tanh_params(seed: int, inputs: int = M) -> dict[str, jax.Array]:
    return {
        "U": dense(seed, N, N),
        "V": dense(seed + 1, inputs, N),
        "b": 0.1 * normal(key(seed + 2), (N,)),
    }


def tanh_layer(p: Any, xs: Any, reverse: bool = False, **options: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(h @ p["U"] + x @ p["V"] + p["b"])
        return h, h

    start = jnp.zeros((*xs.shape[1:-1], N))
    return lax.scan(step, start, xs, reverse=reverse, **options)[1]


def mean_square(h: Any) -> Any:
    return jnp.mean(jnp.sum(jnp.square(h), -1))


@model
def plain_scan() -> Model:
    return lambda p, xs: mean_square(tanh_layer(p, xs)[-1]), (tanh_params(2), X)


@model
def loss_at_every_step() -> Model:
    return lambda p, xs: mean_square(tanh_layer(p, xs)), (tanh_params(2), X)


@model
def two_layers_unrolled_under_jit() -> Model:
    def loss(p: Any, xs: Any) -> Any:
        layer = jax.jit(lambda p, xs: tanh_layer(p, xs, unroll=3))
        return mean_square(layer(p[1], layer(p[0], xs))[-1])

    return loss, ([tanh_params(2), tanh_params(6, N)], X)


@model
def bidirectional_pair() -> Model:
    def loss(p: Any, xs: Any) -> Any:
        ahead, back = tanh_layer(p[0], xs), tanh_layer(p[1], xs, reverse=True)
        return mean_square(jnp.concatenate([ahead[-1], back[0]], -1))

    return loss, ([tanh_params(2), tanh_params(6)], X)


@model
def attention_between() -> Model:
    def loss(p: Any, xs: Any) -> Any:
        hs = tanh_layer(p[0], xs)
        weights = jax.nn.softmax(jnp.einsum("tbi,sbi->tsb", hs, hs), axis=1)
        mixed = jnp.einsum("tsb,sbi->tbi", weights, hs)
        return mean_square(tanh_layer(p[1], mixed)[-1])

    return loss, ([tanh_params(2), tanh_params(6, N)], X)


@model
def encoder_and_decoder_that_attends() -> Model:
    """The states of the encoder are constants of the decoder's loop."""

    def loss(p: Any, xs: Any) -> Any:
        hs = tanh_layer(p[0], xs)

        def step(h: Any, _: Any) -> Any:
            weights = jax.nn.softmax(jnp.einsum("tbi,bi->tb", hs, h), axis=0)
            h = jnp.tanh(h @ p[1]["U"] + jnp.einsum("tb,tbi->bi", weights, hs))
            return h, h @ p[1]["V"]

        return mean_square(lax.scan(step, hs[-1], None, length=5)[1])

    return loss, ([tanh_params(2), tanh_params(6, N)], X)


@model
def residual_stack_with_remat() -> Model:
    def loss(p: Any, xs: Any) -> Any:
        hs = tanh_layer(p[0], xs)
        for one in p[1:]:
            hs = hs + jax.checkpoint(tanh_layer)(one, hs)
        return mean_square(hs[-1])

    return loss, ([tanh_params(2), tanh_params(6, N), tanh_params(9, N)], X)


@model
def matrix_state() -> Model:
    """Linear attention: a state of keys times values, of one example under `vmap`."""

    def one(p: Any, xs: Any) -> Any:
        def step(S: Any, x: Any) -> Any:
            q, k, v = x @ p["q"], x @ p["k"], x @ p["v"]
            S = 0.9 * S + jnp.outer(k, v)
            return S, q @ S

        return lax.scan(step, jnp.zeros((N, N)), xs)[1][-1]

    params = {name: dense(seed, M, N) for seed, name in enumerate("qkv", 20)}
    loss = lambda p, xs: mean_square(jax.vmap(one, (None, 1))(p, xs))
    return loss, (params, X)


@model
def nested_scan() -> Model:
    def loss(p: Any, xs: Any) -> Any:
        def outer(h: Any, x: Any) -> Any:
            inner = lambda h, _: (jnp.tanh(h @ p["U"] + x @ p["V"]), None)
            return lax.scan(inner, h, None, length=3)

        return mean_square(lax.scan(outer, jnp.zeros((B, N)), xs)[0])

    return loss, (tanh_params(2), X)


@model
def state_space_in_parallel() -> Model:
    """A diagonal recurrence by `lax.associative_scan`, as S5 is written; then a head.

    Its operator is written for one pair of elements, and mapped over slices.
    """

    @jax.vmap
    def join(left: Any, right: Any) -> Any:
        (a, b), (c, d) = left, right
        return c * a, c * b + d

    @jax.jit
    def layer(p: Any, xs: Any) -> Any:
        driven = xs @ p["V"]
        decay = jnp.broadcast_to(jax.nn.sigmoid(p["a"]), driven.shape)
        return lax.associative_scan(join, (decay, driven))[1] @ p["C"]

    def loss(p: Any, xs: Any) -> Any:
        return mean_square(jnp.tanh(layer(p[1], jnp.tanh(layer(p[0], xs)))[-1]))

    params = [
        {"V": dense(i, m, N), "a": normal(key(i + 1), (N,)), "C": dense(i + 2, N, N)}
        for i, m in ((30, M), (33, N))
    ]
    return loss, (params, X)


@model
def delta_rule_by_matrices_in_reverse() -> Model:
    """An associative scan over matrices, along the second axis, from the end."""

    def loss(p: Any, xs: Any) -> Any:
        unit = jnp.tanh(jnp.swapaxes(xs, 0, 1) @ p)
        factors = jnp.eye(N) - 0.5 * unit[..., None] * unit[..., None, :]
        states = lax.associative_scan(jnp.matmul, factors, reverse=True, axis=1)
        return mean_square(states[:, 0])

    return loss, (dense(40, M, N), X)


@model
def while_loop_until_it_is_small() -> Model:
    """Each example stops at its own step, under `vmap`."""

    def one(p: Any, x: Any) -> Any:
        def goes_on(now: Any) -> Any:
            count, h = now
            return (count < 12) & (jnp.sum(jnp.square(h)) > 0.3)

        step = lambda now: (now[0] + 1, jnp.tanh(now[1] @ p["U"] + x @ p["V"]))
        return lax.while_loop(goes_on, step, (0, 2 * jnp.ones(N)))[1]

    loss = lambda p, x: mean_square(jax.vmap(one, (None, 0))(p, x))
    return loss, (tanh_params(2), 0.3 * X[0])


@model
def loop_in_a_branch_and_one_of_a_known_count() -> Model:
    def loss(p: Any, xs: Any, steps: Any) -> Any:
        yes = lambda: tanh_layer(p, xs)[-1]
        h = lax.cond(xs[0, 0, 0] < 9, yes, lambda: xs[0, :, :N])
        h = lax.fori_loop(0, steps, lambda i, h: jnp.tanh(h @ p["U"]), h)
        return mean_square(h)

    return loss, (tanh_params(2), X, jnp.asarray(5))


@model
def examples_by_a_map() -> Model:
    """One example after the other, each with a random start."""

    def loss(p: Any, xs: Any, key: Any) -> Any:
        def one(key: Any, x: Any) -> Any:
            key, own = jax.random.split(key)
            start = normal(own, (N,))
            step = lambda h, x: (jnp.tanh(h @ p["U"] + x @ p["V"]), None)
            return key, lax.scan(step, start, x)[0]

        last = lax.scan(one, key, jnp.swapaxes(xs, 0, 1))[1]
        return mean_square(last) + mean_square(
            lax.map(lambda x: one(key, x)[1], last[:, None] @ p["W"])
        )

    return loss, (tanh_params(2) | {"W": dense(41, N, M)}, X, key(42))


@model
def linen_rnn() -> Model:
    layer = nn.RNN(nn.OptimizedLSTMCell(N, param_dtype=float), time_major=True)
    params = layer.init(key(0), X)
    return lambda p, xs: mean_square(layer.apply(p, xs)[-1]), (params, X)  # pyright: ignore


@model
def nnx_two_layers() -> Model:
    one = nnx.GRUCell(M, N, param_dtype=float, rngs=nnx.Rngs(0))
    two = nnx.OptimizedLSTMCell(N, N, param_dtype=float, rngs=nnx.Rngs(1))
    first, second = (nnx.RNN(cell, time_major=True) for cell in (one, two))
    graph, params, rest = nnx.split((first, second), nnx.Param, ...)

    def loss(params: Any, rest: Any, xs: Any) -> Any:
        first, second = nnx.merge(graph, params, rest)
        return mean_square(second(first(xs))[-1])  # pyright: ignore

    return loss, (params, rest, X)


@model
def equinox_gru() -> Model:
    cell = eqx.nn.GRUCell(M, N, key=key(3))

    def loss(cell: Any, xs: Any) -> Any:
        def one(xs: Any) -> Any:
            return lax.scan(lambda h, x: (cell(x, h), None), jnp.zeros(N), xs)[0]

        return mean_square(jax.vmap(one, 1)(xs))

    return loss, (cell, X)


@model
def haiku_lstm() -> Model:
    def run(xs: Any) -> Any:
        core = hk.LSTM(N)
        return hk.dynamic_unroll(core, xs, core.initial_state(B))[0]

    net = hk.without_apply_rng(hk.transform(run))
    params = net.init(key(4), X)
    return lambda p, xs: mean_square(net.apply(p, xs)[-1]), (params, X)
