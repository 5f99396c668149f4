"""What a penalty is: something that is added to the gradient of the loss."""

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

    Loss and light probe stay those of the loss; the gradient of the sum is clipped.
    """

    group: ClassVar[str] = "penalty"
    reads_adjoints: ClassVar[bool] = False
    """Whether `of_shard` is called, with the adjoints of the backward pass."""

    def of_shard(
        self,
        model: SequenceModel,
        params: Params,
        lengths: Lengths | None,
        entered: Mapping[str, Any],
        adjoints: Mapping[str, Any],
    ) -> Any:
        """Sums over a shard of the batch, which are added up over all shards.

        Args:
            model: the model.
            params: its parameters.
            lengths: valid steps of each example; None: all.
            entered: what the model sows under ``layers``: by layer, its input and the
                trajectories of its walks.
            adjoints: by walk, ∂L/∂h_t of every step in the order of the walk: the
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
        """The gradient of the loss and the penalty.

        Args:
            gradient: of the loss.
            step: number of the update.
            model: the model.
            params: its parameters.
            batch: of the update.
            sums: of `of_shard`.
        """
        return gradient


PENALTIES: Registry[type[Penalty]] = Registry("penalty")
"""Penalties by name."""


@PENALTIES.register("none")
@dataclasses.dataclass(frozen=True)
class NoPenalty(Penalty):
    """the loss as it is"""

    name: ClassVar[str] = "none"
