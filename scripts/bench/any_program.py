"""What probing any JAX program costs, in units of one of its gradient steps.

step: gradient and update by Adam. adjoints: the forward pass with all states kept, and
the walk back. contributions: the same with the shares of every parameter. in training:
an update with `rnnjax.value_and_flow` in place of `jax.value_and_grad`. Compiled once,
as called again. Memory: XLA's own account of temporaries of `contributions`.

An LSTM as a plain scan (projection of the inputs in its step, and before the loop), of
NNX and of Equinox, two layers of NNX; last, our own cell on the road of Flax models,
where `contributions` is the whole backward trace with those of every kernel.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from rnnjax.analysis.flow_in_training import value_and_flow
from rnnjax.probes.programs.arguments import arguments_of
from rnnjax.probes.programs.attribution import reached_by
from rnnjax.probes.programs.examples import find_axes
from rnnjax.probes.programs.program import program_of
from rnnjax.probes.programs.whole import walk
from scripts.bench import probes
from scripts.bench.timing import interleaved


STEPS, BATCH, INPUTS, HIDDEN = 100, 32, 16, 64

Model = tuple[Callable[..., Any], tuple[Any, ...]]


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each model whose name contains `only`."""
    for name, make in MODELS.items():
        if only in name:
            with jax.numpy_rank_promotion("allow"):
                yield _row(name, *make(), seconds)
    if only in "own-lstm":
        own = next(probes.rows(seconds, f"lstm-{STEPS}"))
        yield {
            "model": "own-lstm",
            "step ms": own["step ms"],
            "adjoints / step": float("nan"),
            "contributions / step": own["full / step"],
            "in training / step": own["light / off"],
            "temporaries MB": own["temporaries of full MB"],
            "T B state MB": 2 * own["T B n MB"],
        }


def _row(name: str, loss: Any, args: Any, seconds: float) -> dict[str, Any]:
    params, *rest = args
    rule = optax.adam(1e-3)
    state = rule.init(eqx.filter(params, eqx.is_inexact_array))
    given = arguments_of(args)
    program = program_of(loss, given)
    once = program.forward(given.arrays)[1]
    axes = [find_axes(one) for one in once]
    wanted = reached_by(program, given.arrays, once, list(given.names(0)))

    def update(params: Any, state: Any, gradient: Any) -> Any:
        updates, state = rule.update(gradient, state)
        return eqx.apply_updates(params, updates), state

    def step(params: Any, state: Any) -> Any:
        value, gradient = eqx.filter_value_and_grad(loss)(params, *rest)
        return value, update(params, state, gradient)

    def in_training(params: Any, state: Any) -> Any:
        value, gradient, flow = value_and_flow(loss)(params, *rest)
        return value, flow, update(params, state, gradient)

    def probed(arrays: Any, wanted: Any) -> Any:
        ran = program.forward(arrays)[1]
        return walk(program, arrays, ran, axes, wanted)

    functions = {
        "step": partial(eqx.filter_jit(step), params, state),
        "in training": partial(eqx.filter_jit(in_training), params, state),
        "adjoints": partial(jax.jit(partial(probed, wanted=())), given.arrays),
        "contributions": partial(jax.jit(partial(probed, wanted=wanted)), given.arrays),
    }
    timed = interleaved(functions, seconds)
    whole = jax.jit(partial(probed, wanted=wanted)).lower(given.arrays).compile()
    held = sum(x.size for one in once for x in one.before)
    ratio = lambda key: timed[key].median / timed["step"].median
    return {
        "model": name,
        "step ms": 1e3 * timed["step"].median,
        "adjoints / step": ratio("adjoints"),
        "contributions / step": ratio("contributions"),
        "in training / step": ratio("in training"),
        "temporaries MB": probes.temporaries(whole) / 1e6,
        "T B state MB": 4e-6 * held,
    }


def _inputs() -> Any:
    return jax.random.normal(jax.random.key(0), (STEPS, BATCH, INPUTS))


def _scan(before: bool) -> Model:
    """An LSTM as a plain scan, with the projection of the inputs before it or not."""
    keys = jax.random.split(jax.random.key(1), 3)
    params = {
        "U": jax.random.normal(keys[0], (HIDDEN, 4 * HIDDEN)) / HIDDEN**0.5,
        "V": jax.random.normal(keys[1], (INPUTS, 4 * HIDDEN)) / INPUTS**0.5,
        "b": jnp.zeros(4 * HIDDEN),
        "w": jax.random.normal(keys[2], (HIDDEN,)),
    }

    def loss(p: Any, xs: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            h, c = state
            driven = x if before else x @ p["V"] + p["b"]
            i, f, g, o = jnp.split(h @ p["U"] + driven, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        driven = xs @ p["V"] + p["b"] if before else xs
        zero = jnp.zeros((BATCH, HIDDEN))
        (h, _), _ = lax.scan(step, (zero, zero), driven)
        return jnp.mean((h @ p["w"]) ** 2)

    return loss, (params, _inputs())


def _nnx(layers: int) -> Model:
    sizes = [INPUTS] + [HIDDEN] * layers
    cells = [
        nnx.OptimizedLSTMCell(m, n, rngs=nnx.Rngs(i))
        for i, (m, n) in enumerate(zip(sizes, sizes[1:], strict=False))
    ]
    stack = nnx.List([nnx.RNN(cell, time_major=True) for cell in cells])
    graph, params, rest = nnx.split(stack, nnx.Param, ...)

    def loss(params: Any, rest: Any, xs: Any) -> Any:
        own = jax.tree.map(lambda x: x, (params, rest))  # variables of this trace
        for layer in nnx.merge(graph, *own):
            xs = layer(xs)
        return jnp.mean(jnp.sum(xs[-1] ** 2, -1))

    return loss, (params, rest, _inputs())


def _equinox() -> Model:
    cell = eqx.nn.LSTMCell(INPUTS, HIDDEN, key=jax.random.key(2))

    def loss(cell: Any, xs: Any) -> Any:
        def one(xs: Any) -> Any:
            zero = jnp.zeros(HIDDEN)
            step = lambda state, x: (cell(x, state), None)
            return lax.scan(step, (zero, zero), xs)[0][0]

        return jnp.mean(jnp.sum(jax.vmap(one, 1)(xs) ** 2, -1))

    return loss, (cell, _inputs())


MODELS: dict[str, Callable[[], Model]] = {
    "scan-lstm": partial(_scan, False),
    "scan-lstm-projected-before": partial(_scan, True),
    "nnx-lstm": partial(_nnx, 1),
    "nnx-two-layers": partial(_nnx, 2),
    "equinox-lstm": _equinox,
}
