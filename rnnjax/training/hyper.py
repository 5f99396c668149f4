"""The numeric hyper-parameters of a run, as arrays."""

from typing import Any

from flax import struct
from jaxtyping import Array, Float, Int, UInt32

from rnnjax.models.sequence import SequenceModel
from rnnjax.training.schedules import Rate


@struct.dataclass
class Hyper:
    """Numeric hyper-parameters of a run: inputs of the compiled program.

    Attributes:
        seed: seed of parameters, data and dropout.
        lr: learning rate η.
        rate: its schedule.
        threshold: threshold of the clipping.
        penalty, optimizer: their numbers by name.
        loss_bound: a larger loss counts as divergence.
        cell: numeric fields of the cell by name.
        lag: largest lag K if back-propagation is cut; None for other rules.
    """

    seed: UInt32[Array, ""]
    lr: Float[Array, ""]
    rate: Rate
    threshold: Float[Array, ""]
    penalty: dict[str, Array]
    optimizer: dict[str, Float[Array, ""]]
    loss_bound: Float[Array, ""]
    cell: dict[str, Float[Array, ""]]
    lag: Int[Array, ""] | None = None


def with_numbers(model: SequenceModel, hyper: Hyper) -> SequenceModel:
    """The model with the lag and the numeric fields of its cell filled in."""
    numbers = dict[str, Any](hyper.cell)
    cell = model.cell.clone(parent=None, **numbers)
    return model.clone(cell=cell, lag=hyper.lag)
