"""What a finished run can be continued from, when more steps are asked of it later.

The state is that before the last look of the host: the last step closes a row of the
metrics, evaluates and probes because it is the last, and in a longer run it may not.
Going on therefore means to look again, by the longer schedule, and to train on. What
comes out has the bits of a run that was asked for all steps at once.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.serialization
import numpy as np

from rnnjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ResumeState:
    """One run, at the end of its last update.

    Attributes:
        step: updates made.
        state: its `TrainState` as a nested dictionary.
        best: see `rnnjax.training.best.Best.of`, without the last evaluation.
        rows: of the metrics before `step`: ``step (k,)`` and ``table (k, columns)``.
        measured: leaves of measurements with parameters, by training step.
    """

    step: int
    state: dict[str, Any]
    best: Mapping[str, Any]
    rows: Mapping[str, np.ndarray]
    measured: Mapping[int, list[np.ndarray]]

    def to_bytes(self) -> bytes:
        """All of it in one message."""
        entries = {field.name: getattr(self, field.name) for field in _FIELDS}
        entries["measured"] = {
            str(step): {str(i): leaf for i, leaf in enumerate(leaves)}
            for step, leaves in self.measured.items()
        }
        return flax.serialization.msgpack_serialize(entries)

    @classmethod
    def from_bytes(cls, content: bytes) -> "ResumeState":
        """The inverse of `to_bytes`.

        Raises:
            UserError: the content is something else.
        """
        try:
            entries: Any = flax.serialization.msgpack_restore(content)
            entries["measured"] = {
                int(step): [leaves[str(i)] for i in range(len(leaves))]
                for step, leaves in entries["measured"].items()
            }
            return cls(**entries)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"this is not the state of a run: {error!r}") from None


_FIELDS = dataclasses.fields(ResumeState)
