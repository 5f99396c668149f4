"""What the probes cost, in units of one training step.

light: an update with the light probe riding on it over one without. full: lagged
adjoints and contributions of every kernel for all t over one gradient step. brute: the
same adjoints by one `jax.grad` for each t (timed for some of them: all take as long as
one another). Memory: XLA's own account of temporaries, beside the size of one state
array of the whole batch (T·B·n) and of the Jacobians.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnjax.models.objective import objective
from rnnjax.probes import contribution, kernels, log10_norms, trace
from rnnjax.recurrence.functional import call
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import build_hyper, initial_params, signature
from rnnjax.training.program import Program
from rnnjax.training.state import Until
from scripts.bench.timing import interleaved


SIZES = [("elman", 100), ("lstm", 100), ("elman", 1000), ("lstm", 1000)]
HIDDEN, BATCH, UPDATES, BRUTE = 64, 32, 20, 5


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each cell and length whose name, as `lstm-1000`, contains `only`."""
    for cell, length in SIZES:
        if only in f"{cell}-{length}":
            yield _row(cell, length, seconds)


def _row(cell: str, length: int, seconds: float) -> dict[str, Any]:
    sizes = [f"model.hidden={HIDDEN}", f"batch={BATCH}"]
    task = ["task=adding", f"task.length={length}"]
    config = compose(f"cell={cell}", *task, *sizes, "probe=off").config
    riding = compose(f"cell={cell}", *task, *sizes, "probe=light").config
    params = initial_params(config)
    functions: dict[str, Any] = {
        "off": _updates(config, params),
        "light": _updates(riding, params),
    }
    model = Program(signature(config)).model(build_hyper(config))
    spec = signature(config).spec
    batch = signature(config).task.sample(jax.random.key(0), BATCH, {})

    def loss(params: Any) -> Any:
        answers: Any = model.apply({"params": params}, batch.inputs, batch.lengths)
        return objective(spec, answers, batch)[0]

    rule = optax.adam(1e-3)

    def step(params: Any, state: Any) -> Any:
        updates, state = rule.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    def full(params: Any) -> Any:
        seen = trace(model, params, batch, spec, lag="last")
        norms = [log10_norms(walk, seen.valid) for walk in seen.walks]
        return norms, [contribution(kernel) for kernel in kernels(seen)]

    state = rule.init(params)
    compiled = {
        "step": jax.jit(step).lower(params, state).compile(),
        "full": jax.jit(full).lower(params).compile(),
    }
    functions["step"] = partial(compiled["step"], params, state)
    functions["full"] = partial(compiled["full"], params)
    timed = interleaved(functions, seconds)
    memory = {k: temporaries(v) for k, v in compiled.items()}
    stride = max(1, length // BRUTE)
    brute = _brute(model, spec, batch, params, stride)
    timed |= interleaved({"brute": brute}, 0.0, least=2)
    return {
        "cell": cell,
        "T": length,
        "B": BATCH,
        "n": HIDDEN,
        "step ms": 1e3 * timed["step"].median,
        "light / off": timed["light"].median / timed["off"].median,
        "full / step": timed["full"].median / timed["step"].median,
        "brute / step": stride * timed["brute"].median / timed["step"].median,
        "temporaries of full MB": memory["full"] / 1e6,
        "of step MB": memory["step"] / 1e6,
        "T B n MB": 4e-6 * length * BATCH * HIDDEN,
        "T B n² MB": 4e-6 * length * BATCH * HIDDEN**2,
    }


def temporaries(compiled: Any) -> int:
    """Bytes that a compiled function takes beside its arguments and results."""
    return compiled.memory_analysis().temp_size_in_bytes


def _updates(config: Any, params: Any) -> Any:
    """Some updates in one call, as training makes them."""
    program, hyper = Program(signature(config)), build_hyper(config)
    state = program.start(params, hyper, program.empty_ride(params, hyper, {}))
    until = Until(
        jnp.asarray(UPDATES, jnp.int32), jnp.asarray(True), jnp.asarray(0, jnp.int32)
    )
    chunk = jax.jit(program.chunk)
    return lambda: chunk(state, hyper, until, {})


def _brute(model: Any, spec: Any, batch: Any, params: Any, stride: int) -> Any:
    """Gradients of the loss with respect to every `stride`-th state."""
    bound = model.bind({"params": params})
    x = bound.encode(batch.inputs)
    _, states = bound.stack[0][0](x, batch.lengths)
    cell, weights = bound.stack[0][0].weights()

    @jax.jit
    def one(t: Any) -> Any:
        def loss(state: Any) -> Any:
            def step(h: Any, now: Any) -> Any:
                number, x_t = now
                drive, _ = call(cell, weights, "readin", x_t)
                new, _ = call(cell, weights, "step", h, drive)
                return jax.tree.map(
                    lambda a, b: jnp.where(number > t, a, b), new, h
                ), None

            last, _ = jax.lax.scan(step, state, (jnp.arange(x.shape[0]), x))
            out, _ = call(cell, weights, "readout", last, None)
            answers = model.apply({"params": params}, out[None], None, method="decode")
            return objective(spec, answers, batch)[0]

        return jax.grad(loss)(jax.tree.map(lambda h: h[t], states))

    return lambda: [one(t) for t in range(0, x.shape[0], stride)]
