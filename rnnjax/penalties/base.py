"""The base of penalties: terms whose gradient is added to that of the loss."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Array, Int

from rnnjax.choice import Choice
from rnnjax.models.sequence import SequenceModel
from rnnjax.registry import Registry
from rnnjax.types import Batch, Lengths, Params


@dataclasses.dataclass(frozen=True)
class Penalty(Choice):
    """Base of all penalties.

    The reported loss and the light probe do not include the penalty. Clipping is
    applied to the gradient of the loss plus the penalty.
    """

    group: ClassVar[str] = "penalty"
    reads_adjoints: ClassVar[bool] = False
    """Whether to call `of_shard` with the adjoints of the backward pass."""

    def of_shard(
        self,
        model: SequenceModel,
        params: Params,
        lengths: Lengths | None,
        entered: Mapping[str, Any],
        adjoints: Mapping[str, Any],
    ) -> Any:
        """Sums over one shard of the batch, which are then summed over all shards.

        Args:
            model: the model.
            params: its parameters.
            lengths: number of valid steps of each example; None: all.
            entered: what the model sows under ``layers``: the input of each layer and
                the trajectories of its walks.
            adjoints: ∂L/∂h_t of every step by walk, in the order of the walk: the
                gradient of the ``states`` that `rnnjax.recurrence.scan.Taps` adds.
        """
        return ()

    def added(
        self,
        gradient: Any,
        step: Int[Array, ""],
        model: SequenceModel,
        params: Params,
        batch: Batch,
        sums: Any,
    ) -> Any:
        """The gradient of the loss plus the penalty.

        Args:
            gradient: gradient of the loss.
            step: number of the update.
            model: the model.
            params: its parameters.
            batch: batch of the update.
            sums: result of `of_shard`, summed over the shards.
        """
        return gradient


PENALTIES: Registry[type[Penalty]] = Registry("penalty")
"""Penalties by name."""


@PENALTIES.register("none")
@dataclasses.dataclass(frozen=True)
class NoPenalty(Penalty):
    """no penalty"""

    name: ClassVar[str] = "none"
