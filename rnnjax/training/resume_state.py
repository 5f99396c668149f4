"""The state of a finished run, from which a run with more steps can resume.

It is the state before the host's work at the last step: a row of the metrics, an
evaluation and a probe are made there only because it is the last step, which it is not
in the longer run. To resume therefore means to redo the host's work at that step
according to the longer schedule, and then to continue training. The result is bitwise
identical to that of a run that had all steps from the start.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.serialization
import numpy as np

from rnnjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ResumeState:
    """One run at the end of its last update.

    Attributes:
        step: number of updates made.
        state: its `TrainState` as a nested dictionary.
        best: see `rnnjax.training.best.Best.of`, without the last evaluation.
        rows: rows of the metrics before `step`: ``step (k,)`` and
            ``table (k, columns)``.
        measured: leaves of measurements with parameters, by training step.
    """

    step: int
    state: dict[str, Any]
    best: Mapping[str, Any]
    rows: Mapping[str, np.ndarray]
    measured: Mapping[int, list[np.ndarray]]

    def to_bytes(self) -> bytes:
        """Everything as one msgpack message."""
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
            UserError: the content is not such a state.
        """
        try:
            entries: Any = flax.serialization.msgpack_restore(content)
            entries["measured"] = {
                int(step): [leaves[str(i)] for i in range(len(leaves))]
                for step, leaves in entries["measured"].items()
            }
            return cls(**entries)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"this is not a saved state of a run: {error!r}") from None


_FIELDS = dataclasses.fields(ResumeState)
