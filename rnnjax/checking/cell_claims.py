"""What a cell says of itself: linear in its state, unitary, or non-expansive."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.checking.cell_gradients import EPS
from rnnjax.checking.cell_rows import agreement
from rnnjax.checking.cell_subject import Subject, difference, jittered, noise
from rnnjax.checking.rows import Row
from rnnjax.probes.backward.single_layer import walk_layer
from rnnjax.probes.dynamics.jacobian import jacobians
from rnnjax.recurrence.associative import is_linear
from rnnjax.recurrence.functional import call, make_weights


GROUP = "probes"


def claims(subject: Subject) -> Iterator[Row]:
    """Claims held against numbers; a cell that makes none gives no row."""
    with jax.enable_x64(True):
        params, x, h0 = subject.arguments("float64")
        static, weights = make_weights(subject.build("float64"), params)
        drive = call(static, weights, "readin", x[0])[0]

        def step(h: Any) -> Any:
            return call(static, weights, "step", h, drive)[0]

        yield from _linear(subject, step, h0, is_linear(static, weights, h0, drive))
        for name in subject.kind.unitary:
            if name in weights.kernels:  # a cell may have a form without the matrix
                yield _unitary(subject, name, weights.kernels[name])
        if subject.kind.nonexpansive:
            yield _nonexpansive(subject, params, x, h0)


def _linear(subject: Subject, step: Any, h: Any, claimed: bool) -> Iterator[Row]:
    """h ↦ a ⊙ h + b: the middle of two states goes to the middle of what they give."""
    name = "linear in each unit"
    other = jax.tree.map(jnp.asarray, noise(23, h))
    middle = jax.tree.map(lambda a, b: (a + b) / 2, h, other)
    ends = jax.tree.map(lambda a, b: (a + b) / 2, step(h), step(other))
    apart = difference(step(middle), ends)
    bound = 100 * max(EPS, difference(step(jittered(h, "float64")), step(h)))
    found = f"{apart:.0e} from a ⊙ h + b (bound {bound:.0e})"
    if claimed:
        hint = "" if apart <= bound else "engine=associative takes it for linear"
        yield Row(GROUP, name, "passed" if apart <= bound else "failed", found, hint)
    elif apart <= bound and _in_units(step, h):
        said = (
            "it is, in numbers, but not by the form of its operations: for "
            "engine=associative write the step as a * h + b"
        )
        yield Row(GROUP, name, "note", said)


def _in_units(step: Any, h: Any) -> bool:
    """Whether unit 1 of each new array does not change when unit 0 of any old does."""
    moved = jax.tree.map(lambda a: a.at[..., 0].add(1.0), h)
    pairs = zip(*map(jax.tree.leaves, (step(h), step(moved))), strict=True)
    return all(np.array_equal(a[..., 1:], b[..., 1:]) for a, b in pairs)


def _unitary(subject: Subject, name: str, kernel: Any) -> Row:
    """Whether K* K is the identity."""
    n = kernel.shape[0]
    apart = float(np.abs(np.asarray(kernel.conj().T @ kernel) - np.eye(n)).max())
    bound = 100 * n * EPS
    of = "K*K is {apart} from the identity"
    hint = f"{subject.place('kernels')}: {name} must be unitary for all parameters"
    return agreement(GROUP, f"{name} unitary", apart, bound, of, hint)


def _nonexpansive(subject: Subject, params: Any, x: Any, h0: Any) -> Row:
    """The largest singular value of the Jacobians, and whether it is at most 1."""
    walked = walk_layer(subject.build("float64"), params, x, h0)
    matrices = np.asarray(jax.jit(jacobians)(walked))
    largest = float(np.linalg.norm(matrices, 2, axis=(-2, -1)).max())
    bound = 1 + 100 * matrices.shape[-1] * EPS
    hint = (
        f"{subject.place('step')}: for some parameters a step takes states farther "
        "apart; do not claim that it is nonexpansive, or bound its kernels"
    )
    found = f"‖J‖ ≤ {largest:.6g} over {matrices.shape[0]} steps (bound 1)"
    if largest <= bound:
        return Row(GROUP, "non-expansive", "passed", found)
    return Row(GROUP, "non-expansive", "failed", found, hint)
