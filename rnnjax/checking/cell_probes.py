"""The probes on a cell, against brute force that knows no seams and no reverse scan."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from rnnjax.cells.products import kernel_gradient
from rnnjax.checking.cell_gradients import EPS
from rnnjax.checking.cell_rows import agreement
from rnnjax.checking.cell_subject import (
    B,
    Subject,
    T,
    difference,
    jittered,
    noise,
    quick_jit,
)
from rnnjax.checking.rows import Row
from rnnjax.probes.backward.single_layer import walk_layer
from rnnjax.probes.backward.walk import Walk, walk_back
from rnnjax.probes.dynamics.jacobian import jacobians
from rnnjax.recurrence import scaled
from rnnjax.recurrence.flat_state import join, split


GROUP = "probes"


def probes(subject: Subject) -> Iterator[Row]:
    """Adjoints, Jacobians and contributions, for a loss on the last state."""
    with jax.enable_x64(True):
        given = subject.arguments("float64")
        cotangent = jax.tree.map(jnp.asarray, noise(7, given[2]))
        probed = quick_jit(lambda *g: _probed(subject, g, cotangent))
        kernels, found = jax.tree.map(np.asarray, probed(*given))
        forced = quick_jit(lambda k, *g: _forced(subject, k, g, cotangent))
        wanted = forced(kernels, *given)
        moved = forced(*jittered((kernels, *given), "float64"))
        names = {
            "adjoints": f"{T} separate calls of jax.grad",
            "jacobians": "jax.jacfwd of a step",
        }
        for name, against in names.items():
            bound = 100 * max(EPS, difference(moved[name], wanted[name]))
            apart = difference(found[name], wanted[name])
            yield _judged(subject, name, apart, bound, against)
        yield _contributions(subject, found, wanted, moved)


def _judged(
    subject: Subject, name: str, apart: float, bound: float, against: str
) -> Row:
    hint = (
        f"{subject.place('step')}: the step must be a pure function of state, drive "
        "and kernels, and multiply its kernels by self.recur(name, …) alone"
    )
    return agreement(GROUP, name, apart, bound, f"{{apart}} from {against}", hint)


def _contributions(subject: Subject, found: Any, wanted: Any, moved: Any) -> Row:
    """What each step contributes to the gradient of each recurrent kernel."""
    name = "contributions of steps"
    if not found["contributions"]:
        hint = (
            f"{subject.place('step')}: probes see the products of self.recur alone; "
            "declare the matrix by self.kernel and multiply by self.recur"
        )
        said = "no kernel is used by self.recur in a step"
        return Row(GROUP, name, "note", f"{said} ({hint})")
    parts = [each["contributions"] for each in (found, wanted, moved)]
    bound = 100 * max(EPS, difference(parts[2], parts[1]))
    apart = difference(parts[0], parts[1])
    return _judged(subject, name, apart, bound, "the gradient of a copy at each step")


def _probed(subject: Subject, given: Any, cotangent: Any) -> Any:
    """Kernels, and what the probes measure."""
    params, x, h0 = given
    cell = subject.build("float64")
    walked = walk_layer(cell, params, x, h0)
    direct = jax.tree.map(
        lambda h, last: jnp.zeros_like(h).at[-1].set(last), walked.states, cotangent
    )
    outputs = jnp.zeros((T, B, cell.output_size))
    walk = walk_back(walked, scaled.lift((outputs, direct), 2)).walk
    adjoints = scaled.shift(walk.adjoint.mantissa, walk.adjoint.exponent)
    used = {use.kernel for use in walk.uses if use.recurrent}
    kernels = {name: walk.kernels[name] for name in sorted(used)}
    return kernels, {
        "adjoints": adjoints,
        "jacobians": jacobians(walked),
        "contributions": {k: _of_steps(walk, k) for k in kernels},
    }


def _of_steps(walk: Walk, kernel: str) -> Array:
    """Σ_b v δᵀ of every step, ``(T, …)``, over all uses of a kernel in the loop."""
    total: Any = 0.0
    for use in walk.uses:
        if use.kernel == kernel and use.recurrent:
            delta = scaled.shift(use.delta.mantissa, use.delta.exponent)
            form: Any = use.form
            one = lambda v, d, form=form: kernel_gradient(
                v, d, walk.kernels[kernel], form
            )
            total = total + jax.vmap(one)(use.value, delta)
    return total


def _forced(
    subject: Subject, kernels: Mapping[str, Array], given: Any, cotangent: Any
) -> dict[str, Any]:
    """The same numbers from plain calls of the cell and JAX's own derivatives."""
    params, x, h0 = given
    cell = subject.build("float64")

    def step(own: Any, h: Any, x: Any) -> Any:
        free = {k: v for k, v in own.items() if k in params}
        variables = {"params": {**params, **free}, "kernels": own}
        return cell.apply(variables, h, x)[0]  # pyright: ignore

    def loss(h: Any) -> Array:
        pairs = zip(*map(jax.tree.leaves, (h, cotangent)), strict=True)
        return sum((jnp.sum(a * b).real for a, b in pairs), jnp.zeros(()))

    def forward(h: Any, x: Any) -> Any:
        h = step(kernels, h, x)
        return h, h

    states = lax.scan(forward, h0, x)[1]
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), h0, states)

    def after(h: Any, t: Array) -> Array:
        def walk(h: Any, now: Any) -> Any:
            u, x = now
            new = step(kernels, h, x)
            return jax.tree.map(lambda a, b: jnp.where(u > t, a, b), new, h), None

        return loss(lax.scan(walk, h, (jnp.arange(T), x))[0])

    adjoints = lax.map(lambda now: jax.grad(after)(*now), (states, jnp.arange(T)))

    def jacobian(now: Any) -> Array:
        h, x = now

        def example(h: Any, x: Any) -> Array:
            alone = jax.tree.map(lambda a: a[None], h)
            of = lambda flat: join(step(kernels, split(flat, alone), x[None]))[0]
            return jax.jacfwd(of)(join(alone))[:, 0]

        return jax.vmap(example)(h, x)

    def of_copies(copies: Any) -> Array:
        def walk(h: Any, now: Any) -> Any:
            own, x = now
            return step(own, h, x), None

        return loss(lax.scan(walk, h0, (copies, x))[0])

    copies = jax.tree.map(lambda k: jnp.broadcast_to(k, (T, *k.shape)), kernels)
    return {
        "adjoints": adjoints,
        "jacobians": lax.map(jacobian, (before, x)),
        "contributions": jax.grad(of_copies)(copies),
    }
