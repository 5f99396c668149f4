"""Layers of other libraries, with the same equations written out: none is wrong.

Every entry is a layer as its library runs it, the equations with the same parameters,
and arguments. Layers of `jax.numpy` and of four libraries differ in the
order and the fusion of their products, which a check must take for rounding.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax


N, M, B = 4, 3, 2

Case = tuple[Callable[..., Any], Callable[..., Any], Callable[[int, int], Any]]

sigmoid, tanh = jax.nn.sigmoid, jnp.tanh


def looped(step: Callable[..., Any]) -> Callable[..., Any]:
    """A loop over the equations: ``step(params, h, x) -> h``; the last and all."""

    def of(params: Any, h0: Any, xs: Any) -> Any:
        def body(h: Any, x: Any) -> Any:
            h = step(params, h, x)
            return h, h[-1] if isinstance(h, tuple) else h

        return lax.scan(body, h0, xs)

    return of


def maker(params: Any, states: int, dtype: Any) -> Callable[[int, int], Any]:
    """Arguments: given parameters, `states` arrays of the first state, inputs."""

    def make(seed: int, steps: int) -> Any:
        random = np.random.default_rng([seed, steps])
        draw = lambda *shape: jnp.asarray(random.standard_normal(shape), dtype)
        start = tuple(draw(B, N) / 2 for _ in range(states))
        h0 = start if states > 1 else start[0]
        return jax.tree.map(lambda x: x.astype(dtype), params), h0, draw(steps, B, M)

    return make


def scanned(step: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """The layer under `lax.scan`: ``step(params, h, x) -> (h, shown)``."""

    def of(params: Any, h0: Any, xs: Any) -> Any:
        return lax.scan(lambda h, x: step(params, h, x), h0, xs, **options)

    return of


def split(z: Any, parts: int) -> list[Any]:
    """A fused product in equal parts."""
    return jnp.split(z, parts, axis=-1)


def linen_gru(dtype: Any, **options: Any) -> Case:
    """The reset gate acts after the product with the state, which has a bias."""
    cell = nn.GRUCell(N, dtype=dtype)
    params = cell.init(jax.random.key(0), jnp.zeros((B, N)), jnp.zeros((B, M)))

    def plain(params: Any, h: Any, x: Any) -> Any:
        p = params["params"]
        of_x = lambda g: x @ p[f"i{g}"]["kernel"] + p[f"i{g}"]["bias"]
        r, z = (sigmoid(of_x(g) + h @ p[f"h{g}"]["kernel"]) for g in "rz")
        n = tanh(of_x("n") + r * (h @ p["hn"]["kernel"] + p["hn"]["bias"]))
        return (1 - z) * n + z * h

    layer = scanned(lambda p, h, x: cell.apply(p, h, x), **options)
    return layer, looped(plain), maker(params, 1, dtype)


def linen_lstm(dtype: Any) -> Case:
    """Under `nn.RNN`, with rematerialised steps."""
    cell = nn.OptimizedLSTMCell(N, dtype=dtype)
    start = (jnp.zeros((B, N)), jnp.zeros((B, N)))
    params = cell.init(jax.random.key(1), start, jnp.zeros((B, M)))

    def layer(params: Any, start: Any, xs: Any) -> Any:
        step = jax.checkpoint(lambda s, x: cell.apply(params, s, x))
        return lax.scan(step, start, xs)

    def plain(params: Any, state: Any, x: Any) -> Any:
        p, (c, h) = params["params"], state
        at = lambda g: (
            x @ p[f"i{g}"]["kernel"] + h @ p[f"h{g}"]["kernel"] + p[f"h{g}"]["bias"]
        )
        c = sigmoid(at("f")) * c + sigmoid(at("i")) * tanh(at("g"))
        return c, sigmoid(at("o")) * tanh(c)

    return layer, looped(plain), maker(params, 2, dtype)


def nnx_layer(kind: str, dtype: Any) -> Case:
    """`nnx.RNN` of a cell, unmodified, with the state at the end."""
    cells = {
        "gru": nnx.GRUCell,
        "lstm": nnx.OptimizedLSTMCell,
        "simple": nnx.SimpleCell,
    }
    cell = cells[kind](M, N, dtype=dtype, rngs=nnx.Rngs(0))
    model = nnx.RNN(cell, time_major=True, return_carry=True)
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def layer(params: Any, start: Any, xs: Any) -> Any:
        return nnx.merge(graph, params, rest)(xs, initial_carry=start)

    def gru(p: Any, h: Any, x: Any) -> Any:
        of_x = split(x @ p["dense_i"]["kernel"] + p["dense_i"]["bias"], 3)
        of_h = split(h @ p["dense_h"]["kernel"], 3)
        r, z = (sigmoid(a + b) for a, b in zip(of_x[:2], of_h[:2], strict=True))
        n = tanh(of_x[2] + r * of_h[2])
        return (1 - z) * n + z * h

    def lstm(p: Any, state: Any, x: Any) -> Any:
        c, h = state
        i, f, g, o = split(
            x @ p["dense_i"]["kernel"]
            + h @ p["dense_h"]["kernel"]
            + p["dense_h"]["bias"],
            4,
        )
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return c, sigmoid(o) * tanh(c)

    def simple(p: Any, h: Any, x: Any) -> Any:
        of_h = h @ p["dense_h"]["kernel"]
        return tanh(of_h + x @ p["dense_i"]["kernel"] + p["dense_i"]["bias"])

    step = {"gru": gru, "lstm": lstm, "simple": simple}[kind]

    def plain(params: Any, start: Any, xs: Any) -> Any:
        return looped(step)(nnx.to_pure_dict(params)["cell"], start, xs)

    return layer, plain, maker(params, 2 if kind == "lstm" else 1, dtype)


def equinox_layer(kind: str, dtype: Any) -> Case:
    """A cell of one example under `vmap`, in a scan."""
    cells = {"gru": eqx.nn.GRUCell, "lstm": eqx.nn.LSTMCell}
    params, static = eqx.partition(
        cells[kind](M, N, key=jax.random.key(3)), eqx.is_array
    )

    def layer(params: Any, start: Any, xs: Any) -> Any:
        cell = eqx.combine(params, static)

        def step(state: Any, x: Any) -> Any:
            state = jax.vmap(cell)(x, state)
            return state, state[0] if kind == "lstm" else state

        return lax.scan(step, start, xs)

    def gru(p: Any, h: Any, x: Any) -> Any:
        a, b = split(x @ p.weight_ih.T + p.bias, 3), split(h @ p.weight_hh.T, 3)
        r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        n = tanh(a[2] + r * (b[2] + p.bias_n))
        return n + z * (h - n)

    def lstm(p: Any, state: Any, x: Any) -> Any:
        h, c = state
        i, f, g, o = split(x @ p.weight_ih.T + h @ p.weight_hh.T + p.bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def plain(params: Any, start: Any, xs: Any) -> Any:
        if kind == "gru":
            return looped(gru)(params, start, xs)
        turned = lambda p, state, x: lstm(p, state[::-1], x)[::-1]  # h is shown
        last, hs = looped(turned)(params, start[::-1], xs)
        return last[::-1], hs

    return layer, plain, maker(params, 2 if kind == "lstm" else 1, dtype)


def haiku_layer(kind: str, dtype: Any) -> Case:
    """`hk.dynamic_unroll` of a core."""
    cores = {"gru": hk.GRU, "vanilla": hk.VanillaRNN}

    def run(start: Any, xs: Any) -> Any:
        shown, last = hk.dynamic_unroll(cores[kind](N), xs, start)
        return last, shown

    model = hk.without_apply_rng(hk.transform(run))
    params = model.init(jax.random.key(4), jnp.zeros((B, N)), jnp.zeros((2, B, M)))

    def gru(params: Any, h: Any, x: Any) -> Any:
        p = params["gru"]
        z, r, _ = split(p["b"] + x @ p["w_i"], 3)
        _, _, of_x = split(x @ p["w_i"] + p["b"], 3)
        wz, wr, wa = split(p["w_h"], 3)
        z, r = sigmoid(z + h @ wz), sigmoid(r + h @ wr)
        return (1 - z) * h + z * tanh(of_x + (r * h) @ wa)

    def vanilla(params: Any, h: Any, x: Any) -> Any:
        one, two = (params[f"vanilla_rnn/{n}"] for n in ("linear", "linear_1"))
        return jax.nn.relu(x @ one["w"] + one["b"] + h @ two["w"] + two["b"])

    step = {"gru": gru, "vanilla": vanilla}[kind]
    return model.apply, looped(step), maker(params, 1, dtype)


F, H = jnp.float32, jnp.bfloat16

RIGHT: dict[str, Callable[[], Case]] = {
    "linen GRU, unrolled": lambda: linen_gru(F, unroll=4),
    "linen GRU, bfloat16": lambda: linen_gru(H),
    "linen LSTM, rematerialised": lambda: linen_lstm(F),
    "nnx GRU": lambda: nnx_layer("gru", F),
    "nnx GRU, bfloat16": lambda: nnx_layer("gru", H),
    "nnx LSTM": lambda: nnx_layer("lstm", F),
    "nnx simple": lambda: nnx_layer("simple", F),
    "nnx simple, bfloat16": lambda: nnx_layer("simple", H),
    "equinox GRU": lambda: equinox_layer("gru", F),
    "equinox GRU, bfloat16": lambda: equinox_layer("gru", H),
    "equinox LSTM": lambda: equinox_layer("lstm", F),
    "haiku GRU": lambda: haiku_layer("gru", F),
    "haiku vanilla": lambda: haiku_layer("vanilla", F),
}
"""Makers of cases, by name."""
