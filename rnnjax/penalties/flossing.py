"""Gradient flossing: Lyapunov exponents are pushed to zero.

Engelken (2023), "Gradient flossing: improving gradient descent through dynamic control
of Jacobians", NeurIPS. Along the trajectory of one sequence k orthonormal tangents are
carried by J_t Q_{t−1} = Q_t R_t, so that λ_i is the mean of ln |R_ii|, and

    Λ = mean over i ≤ k of λ_i²

is differentiated through all of it: states, Jacobians and QR. Directions that neither
grow nor shrink let a gradient through; the paper does this for some hundred updates
before training, and again in between.

A direction that is lost in one step (a unit that is switched off) has no exponent, and
Λ no gradient: choose k smaller, or another activation.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from rnnjax.cells.base import Cell
from rnnjax.errors import UserError
from rnnjax.models.sequence import SequenceModel
from rnnjax.penalties.base import PENALTIES, Penalty
from rnnjax.recurrence.flat_state import join, split
from rnnjax.recurrence.functional import Weights
from rnnjax.recurrence.masking import make_drive
from rnnjax.recurrence.scaled import wide
from rnnjax.recurrence.step import Drive, masked_step
from rnnjax.types import Batch, Lengths, Params, State


@PENALTIES.register("flossing")
@dataclasses.dataclass(frozen=True)
class Flossing(Penalty):
    """Lyapunov exponents are pushed to zero (Engelken 2023)

    Those of the first example of each batch.

    Attributes:
        exponents: how many of the leading ones.
        weight: of the penalty.
        window: the first steps of the sequence that are flossed; None: all.
        pretrain_steps: the first updates that follow the penalty and not the loss.
        stop_step: the update from which on there is no penalty; None: never.
    """

    name: ClassVar[str] = "flossing"
    exponents: int
    weight: float = 1.0
    window: int | None = None
    pretrain_steps: int = 0
    stop_step: int | None = None

    def check(self) -> None:
        self._check(0.0, math.inf, "weight")
        self._check(1, 65_536, "exponents")
        if self.window is not None:
            self._check(1, math.inf, "window")
        self._check(0, 10**9, "pretrain_steps")
        if self.stop_step is not None:
            self._check(self.pretrain_steps, 10**9, "stop_step")

    def numbers(self) -> dict[str, float | int]:
        """When and how much; one program serves all of them."""
        never = int(jnp.iinfo(jnp.int32).max)
        stop = never if self.stop_step is None else self.stop_step
        numbers = super().numbers()
        return numbers | {"pretrain_steps": self.pretrain_steps, "stop_step": stop}

    def added(
        self,
        gradient: Any,
        step: Int[Array, ""],
        model: SequenceModel,
        params: Params,
        batch: Batch,
        sums: Any,
    ) -> Any:
        """∂L/∂θ + w ∂Λ/∂θ; first ∂Λ/∂θ, after `stop_step` ∂L/∂θ."""
        few, ends = batch.inputs[: self.window, :1], batch.lengths[:1]

        def loss(params: Params) -> Float[Array, ""]:
            return flossing(model, params, few, self.exponents, ends)

        nothing = lambda: jax.tree.map(jnp.zeros_like, gradient)
        # computed in the updates that need it and in no other
        stop: Any = self.stop_step
        push = lax.cond(step < stop, lambda: jax.grad(loss)(params), nothing)

        def together(g: Array, d: Array) -> Array:
            return jnp.where(step < self.pretrain_steps, 0.0, g) + self.weight * d

        return jax.tree.map(together, gradient, push)


SETTLE = 4
"""The first T // SETTLE steps let the tangents align and do not count."""


def flossing(
    model: SequenceModel,
    params: Params,
    inputs: Array,
    exponents: int,
    lengths: Lengths | None = None,
) -> Float[Array, ""]:
    """Λ of all recurrences of a model, the mean over them; differentiable.

    Without batched LAPACK, so that it may be part of a pack of runs. Costs about k
    Jacobian-vector products and one QR of ``(N, k)`` a step, and twice that back.

    Args:
        model: the model.
        params: its parameters.
        inputs: of one sequence, tokens ``(T, 1)`` or vectors ``(T, 1, m)``.
        exponents: k.
        lengths: valid steps ``(1,)``, the rest is padding; None: all T.

    Raises:
        UserError: a state has fewer than k numbers.
    """
    _, sown = model.apply({"params": params}, inputs, lengths, mutable=["layers"])
    entered: Any = sown["layers"]
    bound = model.bind({"params": params})
    found = []
    for layer, walks in enumerate(bound.stack):
        x = entered[str(layer)][0]
        for walk in walks:
            cell, weights = walk.weights()
            drive = make_drive(cell, weights, x, lengths, backwards=walk.backwards)
            start = walk.first_state(1)
            spectrum = leading_exponents(cell, weights, start, drive, exponents)
            found.append(jnp.mean(spectrum**2))
    return jnp.mean(jnp.stack(found))


def leading_exponents(
    cell: Cell, weights: Weights, initial: State, drive: Drive, exponents: int
) -> Float[Array, "k"]:
    """The k leading Lyapunov exponents around one sequence, natural, per step.

    The first L // `SETTLE` of its L valid steps do not count; 0 where none are left.
    """
    size = join(initial).shape[-1]
    if not 1 <= exponents <= size:
        raise UserError(
            f"penalty.exponents={exponents} is not between 1 and the {size} numbers of "
            f"the state of {type(cell).__name__}"
        )
    steps = jax.tree.leaves(drive.values)[0].shape[0]
    dtype = join(initial).dtype
    # generic tangents: unit vectors would be invariant under a diagonal recurrence
    tangents = jax.random.normal(jax.random.key(0), (size, exponents), dtype)

    def forward(carry: Any, now: Drive) -> tuple[Any, Array]:
        state, tangents = carry

        def step(h: Array) -> Array:
            entering = split(h[None], initial)
            return join(masked_step(cell, weights, initial, entering, now)[0])[0]

        def along(v: Array) -> tuple[Array, Array]:
            return jax.jvp(step, (state,), (v,))

        state, moved = jax.vmap(along, -1, (None, -1))(tangents)
        tangents, stretched = jnp.linalg.qr(wide(moved))
        growth = jnp.log(jnp.abs(jnp.diagonal(stretched)))
        return (state, tangents.astype(dtype)), growth

    start = join(initial)[0], jnp.linalg.qr(wide(tangents))[0].astype(dtype)
    growth = lax.scan(forward, start, drive)[1]
    if drive.valid is None:
        return jnp.mean(growth[steps // SETTLE :], axis=0)
    place = jnp.cumsum(drive.valid[:, 0])
    counts = drive.valid[:, 0] & (place > place[-1] // SETTLE)
    summed = jnp.sum(jnp.where(counts[:, None], growth, 0.0), axis=0)
    return summed / jnp.maximum(jnp.sum(counts), 1)
