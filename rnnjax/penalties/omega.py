"""Pascanu's Ω: the adjoint shall keep its norm from step to step.

Pascanu, Mikolov & Bengio (2013), "On the difficulty of training recurrent neural
networks", ICML, section 3.3. With λ_t = ∂L/∂h_t and J_t = ∂h_t/∂h_{t−1}

    Ω = mean of (‖J_tᵀ λ_t‖² / ‖λ_t‖² − 1)²

over all steps and examples whose ‖λ_t‖² is at least 10⁻²⁰, as the authors' program has
it (`trainingRNNs`: squares of norms, the mean, the bound). Its gradient is the
immediate one: states, slopes and λ_t are constants, only the recurrent kernels that
carry λ_t back count. For U of an Elman network, J_tᵀ λ_t = Uᵀ(φ'(z_t) ⊙ λ_t), and

    ∂⁺Ω/∂U = mean of 4 (r_t − 1) (φ'(z_t) ⊙ u_t) (J_tᵀ u_t)ᵀ

with u_t = λ_t/‖λ_t‖ and r_t = ‖J_tᵀ u_t‖².

In a cell with several products, the outputs of all of them are constants of the step.
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
"""Steps whose ‖λ_t‖² is smaller do not count: float32 could not tell their ratio."""


@PENALTIES.register("omega")
@dataclasses.dataclass(frozen=True)
class OmegaPenalty(Penalty):
    """the adjoint keeps its norm (Pascanu et al. 2013)

    Attributes:
        weight: α of Ω.
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
        """∂L/∂θ + α ∂⁺Ω/∂θ; no step that counts leaves ∂L/∂θ."""
        scale = self.weight / jnp.maximum(sums.count, 1.0)
        return jax.tree.map(lambda g, d: g + scale * d, gradient, sums.gradient)


@struct.dataclass
class Omega:
    """Sums over the steps and examples that count, so that shards can be added up.

    Attributes:
        total: of (‖J_tᵀ λ_t‖² / ‖λ_t‖² − 1)²; Ω is `total` / `count`.
        count: of steps and examples.
        gradient: immediate derivative of `total`, like the parameters.
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

    Costs about one step back for all steps side by side, and no loop.

    Args:
        model: the model.
        params: its parameters.
        lengths: valid steps of each example; None: all.
        entered: what the model sows under ``layers``: by layer, its input and the
            trajectories of its walks.
        adjoints: by walk, ∂L/∂h_t of every step in the order of the walk: the gradient
            of the ``states`` that `rnnjax.recurrence.scan.Taps` adds.

    Raises:
        UserError: a cell multiplies by no kernel in its step.
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
    """Sum of (r − 1)² over what counts, and how much that is; a function of the
    recurrent kernels alone."""
    drive, previous, adjoint = lax.stop_gradient((drive, previous, adjoint))
    start = jax.tree.map(lambda x: x[0], previous)
    seams = step_seams(cell, weights, start, first(drive.values))
    if not seams:
        raise UserError(
            f"penalty=omega: the step of {type(cell).__name__} multiplies by no "
            "recurrent kernel"
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
    """λ_t/‖λ_t‖, and which of them count; exponents keep the squares in range."""
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
