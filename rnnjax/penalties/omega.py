"""Pascanu's Ω: penalise changes of the adjoint's norm from step to step.

Pascanu, Mikolov & Bengio (2013), "On the difficulty of training recurrent neural
networks", ICML, section 3.3. With λ_t = ∂L/∂h_t and J_t = ∂h_t/∂h_{t−1}

    Ω = mean of (‖J_tᵀ λ_t‖² / ‖λ_t‖² − 1)²

over all steps and examples whose ‖λ_t‖² is at least 10⁻²⁰. The squared norms, the mean
and this bound are those of the authors' program (`trainingRNNs`). The gradient is the
immediate derivative: states, slopes and λ_t are treated as constants, and only the
recurrent kernels that propagate λ_t back are differentiated. For U of an Elman network,
J_tᵀ λ_t = Uᵀ(φ'(z_t) ⊙ λ_t), and

    ∂⁺Ω/∂U = mean of 4 (r_t − 1) (φ'(z_t) ⊙ u_t) (J_tᵀ u_t)ᵀ

with u_t = λ_t/‖λ_t‖ and r_t = ‖J_tᵀ u_t‖².

In a cell with several products per step, the outputs of all products are treated as
constants.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float

from rnnjax.cells.base import Cell
from rnnjax.errors import UserError
from rnnjax.models.sequence import SequenceModel
from rnnjax.penalties.base import PENALTIES, Penalty
from rnnjax.recurrence import scaled
from rnnjax.recurrence.functional import Weights, call, step_seams, with_kernels
from rnnjax.recurrence.masking import in_order, make_drive
from rnnjax.recurrence.step import Drive, before, first, masked_step
from rnnjax.types import Batch, Lengths, Params, Trajectory


BOUND = 1e-20
"""Steps with a smaller ‖λ_t‖² are ignored: float32 cannot resolve their ratio."""


@PENALTIES.register("omega")
@dataclasses.dataclass(frozen=True)
class OmegaPenalty(Penalty):
    """keep the adjoint's norm from step to step (Pascanu et al. 2013)

    Attributes:
        weight: weight α of Ω.
    """

    name: ClassVar[str] = "omega"
    reads_adjoints: ClassVar[bool] = True
    weight: float = 1.0

    def check(self) -> None:
        self._check(0.0, math.inf, "weight")

    def of_shard(
        self,
        model: SequenceModel,
        params: Params,
        lengths: Lengths | None,
        entered: Mapping[str, Any],
        adjoints: Mapping[str, Any],
    ) -> "Omega":
        return omega(model, params, lengths, entered, adjoints)

    def added(
        self,
        gradient: Any,
        step: Any,
        model: SequenceModel,
        params: Params,
        batch: Batch,
        sums: "Omega",
    ) -> Any:
        """∂L/∂θ + α ∂⁺Ω/∂θ; only ∂L/∂θ if no step counts."""
        scale = self.weight / jnp.maximum(sums.count, 1.0)
        return jax.tree.map(lambda g, d: g + scale * d, gradient, sums.gradient)


@struct.dataclass
class Omega:
    """Sums over the steps and examples that count, which can be summed over shards.

    Attributes:
        total: sum of (‖J_tᵀ λ_t‖² / ‖λ_t‖² − 1)²; Ω is `total` / `count`.
        count: number of pairs of a step and an example.
        gradient: immediate derivative of `total`, with the structure of the parameters.
    """

    total: Float[Array, ""]
    count: Float[Array, ""]
    gradient: Any


def omega(
    model: SequenceModel,
    params: Params,
    lengths: Lengths | None,
    entered: Mapping[str, Any],
    adjoints: Mapping[str, Any],
) -> Omega:
    """Ω of all recurrences of a model on one batch; pure, works under `jit`.

    The cost is about that of one backward step for all time steps in parallel, without
    a loop over time.

    Args:
        model: the model.
        params: its parameters.
        lengths: number of valid steps of each example; None: all.
        entered: what the model sows under ``layers``: the input of each layer and the
            trajectories of its walks.
        adjoints: ∂L/∂h_t of every step by walk, in the order of the walk: the gradient
            of the ``states`` that `rnnjax.recurrence.scan.Taps` adds.

    Raises:
        UserError: the step of a cell does not multiply by any recurrent kernel.
    """

    def total(params: Params) -> tuple[Array, Array]:
        bound = model.bind({"params": params})
        sums = []
        for layer, walks in enumerate(bound.stack):
            x, trajectories = entered[str(layer)]
            for walk, states in zip(walks, trajectories, strict=True):
                cell, weights = walk.weights()
                masks = lengths, None, walk.backwards, walk.lag
                drive = make_drive(cell, weights, x, *masks)
                start = walk.first_state(x.shape[1])
                place = before(start, in_order(states, walk.backwards))
                adjoint = adjoints[walk.name]["states"]
                sums.append(_of_walk(cell, weights, drive, place, adjoint))
        each = jnp.stack([jnp.stack(one) for one in sums])
        return jnp.sum(each[:, 0]), jnp.sum(each[:, 1])

    (value, count), gradient = jax.value_and_grad(total, has_aux=True)(params)
    return Omega(value, count, gradient)


def _of_walk(
    cell: Cell, weights: Weights, drive: Drive, previous: Trajectory, adjoint: Any
) -> tuple[Array, Array]:
    """Sum of (r − 1)² over the steps and examples that count, and their number.

    Differentiable with respect to the recurrent kernels only.
    """
    drive, previous, adjoint = lax.stop_gradient((drive, previous, adjoint))
    start = jax.tree.map(lambda x: x[0], previous)
    seams = step_seams(cell, weights, start, first(drive.values))
    if not seams:
        raise UserError(
            f"penalty=omega: the step of {type(cell).__name__} does not multiply by "
            "any recurrent kernel"
        )
    fixed = lax.stop_gradient(weights)
    free = Weights(fixed.params, with_kernels(weights, seams).kernels, fixed.numeric)

    def outputs(state: Any, values: Any) -> dict[str, Array]:
        used = call(cell, fixed, "step", state, values)[1]
        return {site: seam.output for site, seam in used.items()}

    known = jax.vmap(outputs)(previous, drive.values)
    unit, counts = _directions(adjoint, drive.valid)

    def back(state: Any, now: Drive, known_t: Any, cotangent: Any) -> Any:
        def step(state: Any) -> Any:
            return masked_step(cell, free, start, state, now, known=known_t)[0]

        return jax.vjp(step, state)[1](cotangent)[0]

    ratio = _squares(jax.vmap(back)(previous, drive, known, unit))
    return jnp.sum(jnp.where(counts, (ratio - 1) ** 2, 0.0)), jnp.sum(counts * 1.0)


def _directions(
    adjoint: Any, valid: Bool[Array, "T B"] | None
) -> tuple[Any, Bool[Array, "T B"]]:
    """λ_t/‖λ_t‖, and which of them count; scaling keeps the squares in range."""
    lifted = scaled.lift(adjoint, 2)
    counts = scaled.log10_norm(lifted) >= 0.5 * jnp.log10(BOUND)
    if valid is not None:
        counts &= valid
    size = jnp.sqrt(_squares(lifted.mantissa))
    size = jnp.where(counts, size, jnp.ones_like(size))
    divide = lambda x: x / jnp.reshape(size, size.shape + (1,) * (x.ndim - 2))
    return jax.tree.map(divide, lifted.mantissa), counts


def _squares(tree: Any) -> Float[Array, "T B"]:
    """‖·‖² over all arrays jointly."""
    each = [
        jnp.sum(x.real**2 + x.imag**2, axis=tuple(range(2, x.ndim)))
        for x in jax.tree.leaves(tree)
    ]
    return sum(each[1:], each[0])
