"""Gradient flossing: push Lyapunov exponents towards zero.

Engelken (2023), "Gradient flossing: improving gradient descent through dynamic control
of Jacobians", NeurIPS. Along the trajectory of one sequence, k orthonormal tangents are
propagated by J_t Q_{t−1} = Q_t R_t, so that λ_i is the mean of ln |R_ii|, and

    Λ = mean over i ≤ k of λ_i²

is differentiated through states, Jacobians and QR. Gradients can pass along directions
that neither grow nor shrink. The paper does this for some hundred updates before
training, and again during training.

If a direction is lost in a single step (because a unit is switched off), its exponent
does not exist, and Λ has no gradient: choose a smaller k or another activation.
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
    """push the leading Lyapunov exponents towards zero (Engelken 2023)

    The exponents are those of the first example of each batch.

    Attributes:
        exponents: number of leading exponents.
        weight: weight of the penalty.
        window: number of steps from the start of the sequence to use; None: all.
        pretrain_steps: number of updates at the start of training that use only the
            penalty and not the loss.
        stop_step: the first update without the penalty; None: the penalty never stops.
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
        """Also the two step numbers, so that one program serves all of their values."""
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
        """∂L/∂θ + w ∂Λ/∂θ; only w ∂Λ/∂θ at first, only ∂L/∂θ from `stop_step` on."""
        few, ends = batch.inputs[: self.window, :1], batch.lengths[:1]

        def loss(params: Params) -> Float[Array, ""]:
            return flossing(model, params, few, self.exponents, ends)

        nothing = lambda: jax.tree.map(jnp.zeros_like, gradient)
        # computed only in the updates that need it
        stop: Any = self.stop_step
        push = lax.cond(step < stop, lambda: jax.grad(loss)(params), nothing)

        def together(g: Array, d: Array) -> Array:
            return jnp.where(step < self.pretrain_steps, 0.0, g) + self.weight * d

        return jax.tree.map(together, gradient, push)


SETTLE = 4
"""The first T // SETTLE steps are not counted, so that the tangents can align."""


def flossing(
    model: SequenceModel,
    params: Params,
    inputs: Array,
    exponents: int,
    lengths: Lengths | None = None,
) -> Float[Array, ""]:
    """Λ, averaged over all recurrences of a model; differentiable.

    Does not use batched LAPACK, so it can be computed in a pack of runs. The cost is
    about k Jacobian-vector products and one QR of ``(N, k)`` per step, and twice that
    in the backward pass.

    Args:
        model: the model.
        params: its parameters.
        inputs: inputs of one sequence, tokens ``(T, 1)`` or vectors ``(T, 1, m)``.
        exponents: number of exponents, k.
        lengths: number of valid steps ``(1,)``, the rest is padding; None: all T.

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
    """The k leading Lyapunov exponents along one sequence, in nats per step.

    The first L // `SETTLE` of its L valid steps are not counted; the exponents are 0 if
    no steps are left.
    """
    size = join(initial).shape[-1]
    if not 1 <= exponents <= size:
        raise UserError(
            f"penalty.exponents={exponents} is not between 1 and {size}, the size of "
            f"the state of {type(cell).__name__}"
        )
    steps = jax.tree.leaves(drive.values)[0].shape[0]
    dtype = join(initial).dtype
    # random tangents, because unit vectors would be invariant under a diagonal one
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
