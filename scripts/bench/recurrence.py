"""One training step of one recurrent layer: ours, flax's, PyTorch's, and the floor.

A step is forward, backward and Adam, for a loss that is linear in all outputs. *ours*
makes many updates in one compiled call and parts the batch over the cores, as training
does with `shards`; *one device* does not part it, and *a call* makes one such update.
*floor* is the step's matrix products alone, in a loop of the same length, on one device
with all of XLA's threads. Ratios below 1: ours is faster. PyTorch runs with one and
with two threads, flax as linen and as nnx, many updates a call too; the better counts.
"""

from collections.abc import Callable, Iterator
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
from rnnjax.recurrence.layer import Recurrent
from rnnjax.training.shards import SHARDS, each_shard
from scripts.bench.timing import Timing, interleaved


SIZES = [(20, 100, 50), (64, 200, 128), (32, 784, 100), (128, 50, 256), (1, 1000, 64)]
GATES = {"elman": 1, "gru": 3, "lstm": 4}
LINEN = {"elman": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}
NNX = {"elman": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}
UPDATES = 8
MANY = "ours", "one", "linen", "nnx"

RULE = optax.adam(1e-3)


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each cell and size, then the geometric means of each cell.

    Of those whose name, as `lstm-20,100,50`, contains `only`.
    """
    for cell in GATES:
        found = []
        for size in SIZES:
            if only in f"{cell}-{','.join(map(str, size))}":
                found.append(_row(cell, size, seconds))
                yield found[-1]
        if not found:
            continue
        yield {
            key: geometric_mean([row[key] for row in found]) if "/" in key else value
            for key, value in found[0].items()
        } | {"B,T,n": "geometric mean", "ours ms": None}


def geometric_mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.exp(np.mean(np.log(known)))) if known else None


def example(size: tuple[int, int, int]) -> tuple[Any, Any]:
    """Inputs and weights of the outputs in the loss, ``(T, B, n)``."""
    batch, length, n = size
    random = np.random.default_rng(0)
    x = random.standard_normal((length, batch, n)).astype(np.float32)
    return x, random.standard_normal((length, batch, n)).astype(np.float32)


def _row(cell: str, size: tuple[int, int, int], seconds: float) -> dict[str, Any]:
    batch, length, n = size
    x, weight = example(size)
    functions: dict[str, Callable[[], Any]] = {
        "ours": ours(cell, x, weight, UPDATES, cores(batch)),
        "one": ours(cell, x, weight, UPDATES),
        "call": ours(cell, x, weight, 1),
        "linen": _linen(cell, x, weight, UPDATES),
        "nnx": _nnx(cell, x, weight, UPDATES),
        "floor": _floor(cell, size),
        **_torch(cell, x, weight),
    }
    timed = interleaved(functions, seconds)

    def each(name: str) -> float:
        own = timed[name].median
        return own / UPDATES if name in MANY else own

    peers = [name for name in timed if name.startswith("torch")]
    return {
        "cell": cell,
        "B,T,n": f"{batch},{length},{n}",
        "ours ms": 1e3 * each("ours"),
        "/ one device": each("ours") / each("one"),
        "/ a call": each("ours") / each("call"),
        "/ torch": each("ours") / min(map(each, peers)) if peers else None,
        "/ flax": each("ours") / min(each("linen"), each("nnx")),
        "/ floor": each("ours") / each("floor"),
        "spread": _spread(timed["ours"]),
    }


def _spread(timing: Timing) -> str:
    return f"±{50 * (timing.high - timing.low) / timing.median:.0f}%"


def cores(batch: int) -> int:
    """Devices that a batch can be parted over."""
    devices = jax.local_device_count()
    return devices if batch % devices == 0 else 1


def _training(gradient: Callable[[Any], Any], params: Any, updates: int) -> Any:
    """`updates` Adam steps."""

    def run(params: Any, state: Any) -> Any:
        def one(carry: Any, _: Any) -> Any:
            params, state = carry
            change, state = RULE.update(gradient(params), state)
            return (optax.apply_updates(params, change), state), None

        if updates == 1:
            return one((params, state), None)[0]
        return lax.scan(one, (params, state), None, updates)[0]

    return run, params, RULE.init(params)


def _called(run: Any, params: Any, state: Any) -> Callable[[], Any]:
    compiled = jax.jit(run)
    return lambda: compiled(params, state)


def ours(cell: str, x: Any, weight: Any, updates: int, shards: int = 1) -> Any:
    """Training steps of our layer, the batch in `shards` over as many devices."""
    layer = Recurrent(CELLS[cell](inputs=x.shape[-1], features=x.shape[-1]))
    params = layer.init(jax.random.key(0), x)

    def gradient_of(params: Any, x: Any, weight: Any) -> Any:
        def loss(params: Any) -> Any:
            outputs: Any = layer.apply(params, x)
            return jnp.vdot(outputs[0], weight)

        return jax.grad(loss)(params)

    if shards == 1:
        step = lambda params: gradient_of(params, x, weight)
        return _called(*_training(step, params, updates))
    parts = tuple(np.stack(np.split(each, shards, axis=1)) for each in (x, weight))

    def summed(params: Any) -> Any:
        every = each_shard(lambda p: gradient_of(params, *p), parts, spread=True)
        return jax.tree.map(lambda g: jnp.sum(g, axis=0), every)

    run, params, state = _training(summed, params, updates)
    mesh = Mesh(np.array(jax.local_devices()[:shards]), (SHARDS,))
    whole = PartitionSpec()
    spread = jax.shard_map(
        run, mesh=mesh, in_specs=whole, out_specs=whole, check_vma=False
    )
    state = jax.device_put(state, NamedSharding(mesh, whole))
    return _called(spread, jax.device_put(params, NamedSharding(mesh, whole)), state)


def _linen(cell: str, x: Any, weight: Any, updates: int) -> Any:
    layer = nn.RNN(LINEN[cell](x.shape[-1]), time_major=True)
    params = layer.init(jax.random.key(0), x)

    def loss(params: Any) -> Any:
        outputs: Any = layer.apply(params, x)
        return jnp.vdot(outputs, weight)

    return _called(*_training(jax.grad(loss), params, updates))


def _nnx(cell: str, x: Any, weight: Any, updates: int) -> Any:
    n = x.shape[-1]
    layer = nnx.RNN(NNX[cell](n, n, rngs=nnx.Rngs(0)), time_major=True)
    graph, params, rest = nnx.split(layer, nnx.Param, ...)

    zeros = jnp.zeros((x.shape[1], n))
    start = (zeros, zeros) if cell == "lstm" else zeros

    def loss(params: Any) -> Any:
        outputs: Any = nnx.merge(graph, params, rest)(x, initial_carry=start)
        return jnp.vdot(outputs, weight)

    return _called(*_training(jax.grad(loss), params, updates))


def _floor(cell: str, size: tuple[int, int, int]) -> Any:
    """x V for all steps, h U and δ Uᵀ step by step, and the two weight gradients.

    The inputs need no gradient here, so that δ Vᵀ is not among them.
    """
    batch, length, n = size
    gates = GATES[cell]
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (length, batch, n))
    delta = jax.random.normal(keys[1], (length, batch, gates * n))
    kernel = jax.random.normal(keys[2], (n, gates * n)) / n

    @jax.jit
    def run(x: Any, delta: Any, kernel: Any) -> Any:
        drive = x @ kernel

        def forward(h: Any, z: Any) -> Any:
            out = h @ kernel + z
            return out[:, :n], None

        def back(d: Any, delta: Any) -> Any:
            return (delta + d[:, :1]) @ kernel.T, None

        h, _ = lax.scan(forward, jnp.zeros((batch, n)), drive)
        d, _ = lax.scan(back, h, delta)
        both = ((0, 1), (0, 1)), ((), ())
        return (
            d,
            lax.dot_general(x, delta, both),
            lax.dot_general(x + 1.0, delta, both),
        )

    return lambda: run(x, delta, kernel)


def _torch(cell: str, x: Any, weight: Any) -> dict[str, Callable[[], Any]]:
    """PyTorch's own module with one and two threads; none if it is not installed."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {}
    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    return torch_steps(kind(x.shape[-1], x.shape[-1]), x, weight)


def torch_steps(layer: Any, x: Any, weight: Any) -> dict[str, Callable[[], Any]]:
    """Training steps of a PyTorch layer with one and two threads."""
    import torch  # pyright: ignore[reportMissingImports]

    adam = torch.optim.Adam(layer.parameters(), lr=1e-3)
    inputs, weights = torch.from_numpy(x), torch.from_numpy(weight)

    def step(threads: int) -> None:
        torch.set_num_threads(threads)
        adam.zero_grad(set_to_none=True)
        torch.sum(layer(inputs)[0] * weights).backward()
        adam.step()

    return {"torch1": lambda: step(1), "torch2": lambda: step(2)}
