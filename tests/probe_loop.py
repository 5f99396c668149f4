"""Cells of linen in plain loops: references for the probes.

Nothing here knows of seams, of taps or of the reverse scan: a cell is called as
`flax.linen` calls it and differentiated by `jax.grad` alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax.cells import Cell
from rnnjax.probes.backward.trace import last_loss_step
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch


class Plain:
    """A cell with kernels in place of its own.

    Args:
        cell: with its input size set.
        params: its parameters.
        names: of its kernels; their values are in `kernels`.
    """

    def __init__(self, cell: Cell, params: Any, names: Any) -> None:
        self.cell, self.params = cell.clone(parent=None), params
        derived = self.apply("kernels", params, {})
        self.kernels = {k: derived[k] if k in derived else params[k] for k in names}

    def apply(self, method: str, params: Any, derived: Any, *args: Any) -> Any:
        with jax.numpy_rank_promotion("allow"):
            variables = {"params": params, "kernels": derived}
            return self.cell.apply(variables, *args, method=method)

    def call(self, method: str, kernels: Any, *args: Any) -> Any:
        """A method of the cell; kernels by other names than its own are ignored."""
        known = {k: v for k, v in kernels.items() if k in self.kernels}
        free = {k: v for k, v in known.items() if k in self.params}
        derived = {k: v for k, v in known.items() if k not in self.params}
        return self.apply(method, {**self.params, **free}, derived, *args)

    def read(self, kernels: Any, state: Any, x: Any) -> Any:
        """The output that belongs to a state and to the input of its step."""
        drive = self.call("readin", kernels, x)
        return self.call("readout", kernels, state, drive)


def learned_start(learned: Any, zeros: Any) -> Any:
    """The learned initial state, whose complex arrays are stored as two real ones."""

    def one(parts: Any, like: Any) -> Any:
        if jnp.iscomplexobj(like):
            parts = parts[0] + 1j * parts[1]
        return jnp.broadcast_to(parts[None], like.shape)

    return jax.tree.map(one, learned, zeros)


class Loop:
    """One layer between an embedding and a readout, with one loss per example.

    The loss of an example is that of its last loss step s, weighted as in training.

    Args:
        cell: with its input size set.
        names: of its kernels.
        params: of a `SequenceModel` of one layer whose initial state is learned.
        batch, spec: of a task with a loss at every step.
    """

    def __init__(
        self,
        cell: Cell,
        names: tuple[str, ...],
        params: Any,
        batch: Batch,
        spec: TaskSpec,
    ) -> None:
        layer = params["stack_0_0"]
        self.cell, self.head = Plain(cell, layer["cell"], names), params["head"]
        self.kernels = {**self.cell.kernels, "embedding": params["embed"]["embedding"]}
        self.tokens, self.lengths = batch.inputs, batch.lengths
        self.steps, size = batch.inputs.shape
        zeros = cell.initial_state((size,))
        self.initial = learned_start(layer["initial_state"], zeros)
        self.rows = jnp.arange(size)
        self.last = last_loss_step(spec, batch)
        self.targets = batch.targets[self.last, self.rows]
        self.weight = 1 / jnp.sum(batch.mask)

    def step(self, kernels: Any, state: Any, tokens: Any) -> Any:
        """(state, output) after one step."""
        x = kernels["embedding"][tokens]
        return self.cell.call("__call__", kernels, state, x)

    def losses(self, outputs: Any) -> Any:
        """The loss of each example from the output of its step s, ``(B,)``."""
        logits = outputs @ self.head["kernel"] + self.head["bias"][None]
        odds = jax.nn.log_softmax(logits)[self.rows, self.targets]
        return -self.weight * odds

    def read(self, kernels: Any, state: Any, tokens: Any) -> Any:
        """The same from its state after step s and the token of that step."""
        x = kernels["embedding"][tokens]
        return self.losses(self.cell.read(kernels, state, x))

    def walk(self) -> Any:
        """The number and the tokens of every step."""
        return jnp.arange(self.steps), self.tokens

    def trajectory(self) -> Any:
        """The state after every step, held on padding, ``(T, B, n)``."""

        def forward(h: Any, now: Any) -> Any:
            u, tokens = now
            h = pick(u < self.lengths, self.step(self.kernels, h, tokens)[0], h)
            return h, h

        return lax.scan(forward, self.initial, self.walk())[1]

    def lagged(self) -> Any:
        """∂ℓ_s/∂h_t ``(T, B, n)``: one `jax.grad` for every t."""

        def loss(h: Any, t: Any) -> Any:
            def forward(h: Any, now: Any) -> Any:
                u, tokens = now
                going = (t < u) & (u <= self.last)
                return pick(going, self.step(self.kernels, h, tokens)[0], h), None

            h, _ = lax.scan(forward, h, self.walk())
            losses = self.read(self.kernels, h, self.tokens[self.last, self.rows])
            return jnp.sum(jnp.where(t <= self.last, losses, 0.0))

        gradient = jax.grad(loss)
        return lax.map(lambda now: gradient(*now), (self.trajectory(), self.walk()[0]))

    def gradients(self) -> Any:
        """G_t ``(T, …)``: the gradient of the kernels that step t has to itself."""

        def loss(copies: Any) -> Any:
            def forward(h: Any, now: Any) -> Any:
                own, (u, tokens) = now
                new, out = self.step(own, h, tokens)
                return pick(u < self.lengths, new, h), out

            outputs = lax.scan(forward, self.initial, (copies, self.walk()))[1]
            return jnp.sum(self.losses(outputs[self.last, self.rows]))

        return jax.grad(loss)(copies(self.kernels, self.steps))

    def along(self, states: Any) -> Any:
        """Adjoints and G_t by one VJP a step, each from the states given."""

        def back(adjoint: Any, now: Any) -> Any:
            (u, tokens), before, after = now

            def direct(kernels: Any, h: Any) -> Any:
                losses = self.read(kernels, h, tokens)
                return jnp.sum(jnp.where(u == self.last, losses, 0.0))

            def step(kernels: Any, h: Any) -> Any:
                new = self.step(kernels, h, tokens)[0]
                return pick(u < self.lengths, new, h)

            read, d_h = jax.grad(direct, (0, 1))(self.kernels, after)
            adjoint = jax.tree.map(jnp.add, adjoint, d_h)
            entered, d_before = jax.vjp(step, self.kernels, before)[1](adjoint)
            return d_before, (adjoint, jax.tree.map(jnp.add, read, entered))

        nothing = jax.tree.map(jnp.zeros_like, self.initial)
        steps = self.walk(), self.before(states), states
        return lax.scan(back, nothing, steps, reverse=True)[1]

    def before(self, states: Any) -> Any:
        """The state that each step starts from, of the states after them."""
        join = lambda h0, h: jnp.concatenate([h0[None], h[:-1]])
        return jax.tree.map(join, self.initial, states)

    def jacobians(self, states: Any) -> Any:
        """∂h_t/∂h_{t−1} of the joint state ``(T, B, N, N)``, by `jax.jacfwd` of one
        step of one example, from the states given."""

        def one(now: Any) -> Any:
            (u, tokens), before = now

            def example(b: Any, h: Any) -> Any:
                def step(vector: Any) -> Any:
                    old = jax.tree.map(lambda a: a[None], unflat(vector, h))
                    new = self.step(self.kernels, old, tokens[b][None])[0]
                    new = pick((u < self.lengths[b])[None], new, old)
                    return flat(jax.tree.map(lambda a: a[0], new))

                return jax.jacfwd(step)(flat(h))

            return jax.vmap(example)(self.rows, before)

        return lax.map(one, (self.walk(), self.before(states)))


def flat(state: Any) -> Any:
    """All state arrays ``(n,)`` of one example as one real vector: the joint state."""
    parts = []
    for a in jax.tree.leaves(state):
        parts.extend([jnp.real(a), jnp.imag(a)] if jnp.iscomplexobj(a) else [a])
    return jnp.concatenate(parts)


def unflat(vector: Any, like: Any) -> Any:
    """The inverse of `flat`."""
    leaves, treedef = jax.tree.flatten(like)
    out, at = [], 0
    for a in leaves:
        n = a.shape[-1]
        if jnp.iscomplexobj(a):
            out.append(lax.complex(vector[at : at + n], vector[at + n : at + 2 * n]))
            at += 2 * n
        else:
            out.append(vector[at : at + n])
            at += n
    return jax.tree.unflatten(treedef, out)


def copies(kernels: Any, steps: int) -> Any:
    """A copy of every array for each step, ``(T, …)``."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x[None], (steps, *x.shape)), kernels)


def pick(where: Any, a: Any, b: Any) -> Any:
    """`a` where True, else `b`, per example ``(B, n)``."""
    return jax.tree.map(lambda x, y: jnp.where(where[:, None], x, y), a, b)
