"""Training steps of one recurrent layer: ours, flax's, PyTorch's, and the floor.

A step is forward, backward and Adam, for a loss that is linear in all outputs. Inputs
are arguments, never constants of a compiled program. Every function here returns one
that takes nothing and makes a number of steps.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnjax.cells import CELLS
from rnnjax.recurrence.functional import call, make_weights
from rnnjax.recurrence.layer import Recurrent
from rnnjax.training.shards import SHARDS, each_shard, total


Steps = Callable[[], Any]
Size = tuple[int, int, int]
"""B, T, n."""

LINEN = {"elman": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}
NNX = {"elman": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}
RULE = optax.adam(1e-3)


def example(size: Size) -> tuple[Any, Any]:
    """Inputs and weights of the outputs in the loss, ``(T, B, n)``."""
    batch, length, n = size
    random = np.random.default_rng(0)
    x = random.standard_normal((length, batch, n)).astype(np.float32)
    return x, random.standard_normal((length, batch, n)).astype(np.float32)


def ours(
    cell: str, size: Size, updates: int, shards: int = 1, **layer_fields: Any
) -> Steps:
    """Our layer, the batch in `shards` over as many devices."""
    n = size[-1]
    layer = Recurrent(CELLS[cell](inputs=n, features=n), **layer_fields)
    x, weight = example(size)
    params = layer.init(jax.random.key(0), x)

    def gradient(params: Any, x: Any, weight: Any) -> Any:
        def loss(params: Any) -> Any:
            outputs: Any = layer.apply(params, x)
            return jnp.vdot(outputs[0], weight)

        return jax.grad(loss)(params)

    if shards == 1:
        return _repeated(jax.jit(_training(gradient, updates)), params, x, weight)

    def summed(params: Any, *parts: Any) -> Any:
        each = lambda part: gradient(params, *part)
        return total(each_shard(each, parts, spread=True))

    mesh = Mesh(np.array(jax.local_devices()[:shards]), (SHARDS,))
    whole = PartitionSpec()
    run = jax.shard_map(
        _training(summed, updates),
        mesh=mesh,
        in_specs=whole,
        out_specs=whole,
        check_vma=False,
    )
    parts = [np.stack(np.split(each, shards, axis=1)) for each in (x, weight)]
    everywhere = jax.device_put((params, *parts), NamedSharding(mesh, whole))
    return _repeated(jax.jit(run), *everywhere)


def linen(cell: str, size: Size, updates: int) -> Steps:
    """`flax.linen.RNN`."""
    layer = nn.RNN(LINEN[cell](size[-1]), time_major=True)
    x, weight = example(size)
    apply: Any = layer.apply
    return _flax(apply, layer.init(jax.random.key(0), x), x, weight, updates)


def of_nnx(cell: str, size: Size, updates: int) -> Steps:
    """`flax.nnx.RNN`."""
    batch, _, n = size
    layer = nnx.RNN(NNX[cell](n, n, rngs=nnx.Rngs(0)), time_major=True)
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    zeros = jnp.zeros((batch, n))
    start = (zeros, zeros) if cell == "lstm" else zeros

    def apply(params: Any, x: Any) -> Any:
        return nnx.merge(graph, params, rest)(x, initial_carry=start)

    return _flax(apply, params, *example(size), updates)


def _flax(apply: Any, params: Any, x: Any, weight: Any, updates: int) -> Steps:
    def gradient(params: Any, x: Any, weight: Any) -> Any:
        return jax.grad(lambda p: jnp.vdot(apply(p, x), weight))(params)

    return _repeated(jax.jit(_training(gradient, updates)), params, x, weight)


def _training(gradient: Callable[..., Any], updates: int) -> Callable[..., Any]:
    """`updates` Adam steps in one program."""

    def run(trained: Any, *data: Any) -> Any:
        def one(trained: Any, _: Any) -> Any:
            params, state = trained
            change, state = RULE.update(gradient(params, *data), state)
            return (optax.apply_updates(params, change), state), None

        if updates == 1:
            return one(trained, None)[0]
        return lax.scan(one, trained, None, updates)[0]

    return run


def _repeated(run: Any, params: Any, *data: Any) -> Steps:
    """A call of `run` that goes on where the last one ended."""
    data = tuple(jax.tree.map(jnp.asarray, data))
    now = [(params, RULE.init(params))]

    def call() -> Any:
        now[0] = run(now[0], *data)
        return now[0]

    return call


def torch_steps(layer: Any, size: Size) -> dict[str, Steps]:
    """A step of a PyTorch layer, with one and with two threads."""
    import torch  # pyright: ignore[reportMissingImports]

    adam = torch.optim.Adam(layer.parameters(), lr=1e-3)
    x, weight = map(torch.from_numpy, example(size))

    def step(threads: int) -> None:
        torch.set_num_threads(threads)
        adam.zero_grad(set_to_none=True)
        torch.sum(layer(x)[0] * weight).backward()
        adam.step()

    return {"torch1": lambda: step(1), "torch2": lambda: step(2)}


def torch_own(cell: str, size: Size) -> dict[str, Steps]:
    """PyTorch's own module; none if PyTorch is not installed."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {}
    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    return torch_steps(kind(size[-1], size[-1]), size)


def columns(cell: str, n: int) -> tuple[int, int]:
    """Columns of the dense kernels that a cell uses inside and outside the loop."""
    module = CELLS[cell](inputs=n, features=n)
    x, state = jnp.zeros((1, n)), module.initial_state((1,))
    params = module.init(jax.random.key(0), state, x)["params"]
    static, weights = make_weights(module, params)
    drive, outside = call(static, weights, "readin", x)
    _, inside = call(static, weights, "step", state, drive)

    def total(seams: Any) -> int:
        dense = [seam for seam in seams.values() if seam.form == "dense"]
        return sum(seam.output.shape[-1] for seam in dense)

    return total(inside), total(outside)


def floor(cell: str, size: Size, updates: int) -> Steps:
    """A step's matrix products alone, on one device with all of XLA's threads.

    x V for all steps, h U and δ Uᵀ step by step, and the two weight gradients. The
    inputs need no gradient here, so that δ Vᵀ is not among them.
    """
    batch, length, n = size
    inside, outside = columns(cell, n)
    keys = jax.random.split(jax.random.key(0), 5)
    x, other = (jax.random.normal(key, (length, batch, n)) for key in keys[:2])
    delta = jax.random.normal(keys[2], (length, batch, max(inside, outside)))
    U = jax.random.normal(keys[3], (n, inside)) / n
    V = jax.random.normal(keys[4], (n, outside)) / n
    both = ((0, 1), (0, 1)), ((), ())

    def products(U: Any, V: Any, x: Any, other: Any, delta: Any) -> Any:
        drive = x @ V

        def forward(h: Any, z: Any) -> Any:
            out = h @ U  # every column is used, so that none is left out
            return out[:, :n] + 1e-9 * out[:, -n:] + z[:, :n], None

        def back(d: Any, delta: Any) -> Any:
            return (delta[:, :inside] + d[:, :1]) @ U.T, None

        h, _ = lax.scan(forward, jnp.zeros((batch, n)), drive)
        d, _ = lax.scan(back, h, delta)
        d_U = lax.dot_general(other, delta[..., :inside], both)
        d_V = lax.dot_general(x, delta[..., :outside], both)
        return U + 1e-9 * (d_U + jnp.sum(d)), V + 1e-9 * d_V

    @jax.jit
    def run(kernels: Any, *arrays: Any) -> Any:
        again = lambda kernels, _: (products(*kernels, *arrays), None)
        return lax.scan(again, kernels, None, updates)[0]

    return lambda: run((U, V), x, other, delta)
