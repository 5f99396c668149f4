"""A user's Flax model: packed and ragged batches, decoders, attention in between.

Brute force runs the same Flax model and puts an unrolled loop in place of each
recurrence: every state of it is perturbed additively, and every step has kernels of its
own.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.probes import kernels, log10_norms
from rnnjax.probes.backward.trace import backward, open_up
from rnnjax.recurrence.layer import Recurrent
from tests.packed_models import (
    ONE,
    SIZE,
    STEPS,
    TARGETS,
    TOKENS,
    VALID,
    WEIGHTS,
    WIDTH,
    Attention,
    Chain,
    Decoder,
    Packed,
    Stack,
)
from tests.probe_errors import (
    adjoint_sizes,
    contributions,
    norm,
    relative,
    share_errors,
)
from tests.probe_loop import Plain, copies, learned_start, pick
from tests.recurrence_samples import noise, quick_jit


def losses(answers: Any) -> Any:
    steps, rows = np.indices((STEPS, SIZE))
    return -jax.nn.log_softmax(answers)[steps, rows, TARGETS]


def unrolled(moved: Any, copied: Any) -> Any:
    """Puts an unrolled loop in place of every recurrence."""
    calls: list[str] = []

    def loop(
        name: str,
        module: Recurrent,
        x: Any,
        lengths: Any,
        resets: Any = None,
        initial_state: Any = None,
    ) -> Any:
        params = module.variables["params"]
        kernels = {
            site.rpartition("/")[2]: value
            for site, value in copied.items()
            if site.startswith(f"{name}/")
        }
        cell = Plain(module.cell, params["cell"], kernels)
        start = initial_state
        if start is None:
            start = cell.cell.initial_state((SIZE,))
        if module.learn_initial_state:
            start = learned_start(params["initial_state"], start)
        state, outputs, states = start, [start] * STEPS, [start] * STEPS
        order = range(STEPS)
        if resets is not None and module.backwards:
            # marks stand at first steps of documents; this walk enters at their last
            marks = jnp.logical_and(resets, VALID)
            resets = jnp.concatenate([marks[1:], jnp.zeros((1, SIZE), bool)])
        for t in reversed(order) if module.backwards else order:
            own = {k: value[t] for k, value in kernels.items()}
            before = state if resets is None else pick(resets[t], start, state)
            new, _ = cell.call("__call__", own, before, x[t])
            state = pick(t < lengths, new, state)
            move = jax.tree.map(lambda m, t=t: m[t], moved[name])
            state = jax.tree.map(jnp.add, state, move)
            out = cell.read(own, state, x[t])
            outputs[t] = jnp.where((t < lengths)[:, None], out, 0.0)
            states[t] = state
        stack = lambda *parts: jnp.stack(parts)
        return stack(*outputs), jax.tree.map(stack, *states)

    def find(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module, kinds = context.module, Recurrent | nn.Embed
        if context.method_name != "__call__" or not isinstance(module, kinds):
            return call(*args, **kwargs)
        path = "/".join(module.path)
        name = f"{path}#{calls.count(path)}" if path in calls else path
        calls.append(path)
        if isinstance(module, nn.Embed):
            return jnp.stack([copied[name][t][args[0][t]] for t in range(STEPS)])
        return loop(name, module, *args, **kwargs)

    return find


def worst(model: nn.Module, names: list[str], pointwise: bool = True) -> float:
    """The worst error of adjoints and of contributions, over two sets of losses.

    Args:
        model: takes tokens.
        names: of all kernels that the probe should see.
        pointwise: as in `open_up`.
    """
    tokens = jnp.asarray(TOKENS)
    made = jax.eval_shape(model.init, jax.random.key(0), tokens)
    params = noise(3, made["params"], 0.7)

    def apply(params: Any, tokens: Any) -> Any:
        with jax.numpy_rank_promotion("allow"):
            return model.apply({"params": params}, tokens)

    @quick_jit
    def probe(params: Any, weights: Any) -> Any:
        total = lambda answers: jnp.sum(losses(answers) * weights)
        args = params, tokens, losses, total, jnp.asarray(VALID)
        seen = backward(open_up(apply, *args, pointwise=pointwise), weights)
        return {walk.name: walk.adjoint for walk in seen.walks}, kernels(seen)

    @quick_jit
    def brute(params: Any, moves: Any, copied: Any, weights: Any) -> Any:
        def loss(moves: Any, copied: Any) -> Any:
            with nn.intercept_methods(unrolled(moves, copied)):
                return jnp.sum(losses(apply(params, tokens)) * weights)

        return jax.grad(loss, (0, 1))(moves, copied)

    errors = []
    for weights in (jnp.asarray(WEIGHTS), jnp.asarray(ONE)):
        adjoints, found = probe(params, weights)
        assert {kernel.name for kernel in found} == set(names)
        moves = {
            k: jax.tree.map(jnp.zeros_like, x.mantissa) for k, x in adjoints.items()
        }
        own = copies({kernel.name: kernel.weight for kernel in found}, STEPS)
        expected, steps = brute(params, moves, own, weights)
        off = max(
            relative(*adjoint_sizes(adjoint, expected[name]))
            for name, adjoint in adjoints.items()
        )
        given = max(
            max(share_errors(part, steps[name]).values())
            for name, part in contributions(found).items()
        )
        errors.append((off, given))
    off, given = np.max(errors, axis=0)
    print(f"{type(model).__name__:10} adjoints {off:.0e} steps {given:.0e}")
    return max(off, given)


PACKED = [
    pytest.param("lstm", "gru_before", "V U", "V U Uh", marks=pytest.mark.slow),
    pytest.param("lru", "urnn", "B C D lambda", "V W", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("first", "second", "ahead", "astern"), PACKED)
def test_packed_sequences(first, second, ahead, astern, x64):
    names = [f"first/{k}" for k in ahead.split()]
    names += [f"second/{k}" for k in astern.split()]
    assert worst(Packed((first, second)), ["embed", *names]) < 1e-10


@pytest.mark.slow
def test_layers_from_both_ends(x64):
    walks = "ahead0", "astern0", "ahead1", "astern1"
    names = [f"{walk}/{kernel}" for walk in walks for kernel in "UV"]
    assert worst(Stack(), ["embed", *names]) < 1e-10


@pytest.mark.slow
def test_decoders_start_from_the_encoder(x64):
    names = ["embed", "embed#1"]
    walks = "encoder", "ahead", "astern"
    names += [f"{walk}/{kernel}" for walk in walks for kernel in "UV"]
    assert worst(Decoder(), names) < 1e-10


@pytest.mark.slow
def test_attention_mixes_steps_and_examples(x64):
    walks = "first", "first#1", "second"
    names = ["embed", *(f"{walk}/{kernel}" for walk in walks for kernel in "UV")]
    assert worst(Attention(), names, pointwise=False) < 1e-10


def test_a_start_is_reached_where_float32_ends():
    """The loss of a decoder at the words of its encoder, of the size 10⁻⁹⁰."""
    steps = 50
    random = np.random.default_rng(0)
    x = random.standard_normal((steps, SIZE, WIDTH)).astype(np.float32)
    loss = lambda answers: -jax.nn.log_softmax(answers)[:, 0]
    made = jax.eval_shape(Chain(jnp.float32).init, jax.random.key(0), x)
    params = jax.tree.map(np.asarray, noise(0, made["params"], 0.7))

    @quick_jit
    def probe(params: Any) -> Any:
        def apply(params: Any, x: Any) -> Any:
            return Chain(jnp.float32).apply({"params": params}, x)

        valid = jnp.ones((steps, SIZE), bool)
        total = lambda answers: jnp.sum(loss(answers))
        passed = open_up(apply, params, jnp.asarray(x), loss, total, valid)
        walks = backward(passed, jnp.ones(SIZE)).walks
        return [log10_norms(walk, valid)[0] for walk in walks]

    @quick_jit
    def brute(params: Any, moves: Any) -> Any:
        def total(moves: Any) -> Any:
            taps = {k: {"states": v, "seams": None} for k, v in moves.items()}
            variables = {"params": params, "taps": taps}
            answers: Any = Chain(jnp.float64).apply(variables, wide)
            return jnp.sum(loss(answers))

        return jax.grad(total)(moves)

    found = probe(params)
    with jax.enable_x64(True):
        wide = jnp.asarray(x, jnp.float64)
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        moves = {name: jnp.zeros_like(wide) for name in ("first", "second")}
        expected = brute(params, moves)
    for got, name in zip(found, moves, strict=True):
        known = np.log10(norm(np.asarray(expected[name])))
        np.testing.assert_allclose(got, known, rtol=0, atol=1e-4)
    assert np.min(found[0]) < -90
