"""The manifest of a run: what it was, where it ran, how it ended, its final numbers."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from rnnjax.errors import UserError, one_line
from rnnjax.store import sealed_json
from rnnjax.store.environment import Environment, Git
from rnnjax.store.typed import check_types


SCHEMA_VERSION = 4
"""Format version of manifests and indices. Up to version 2 the run id was called
``identity``; up to 3 every task's results were called ``test_metric`` and so on."""

Status = Literal["queued", "running", "done", "diverged", "failed", "interrupted"]
STATUSES: tuple[str, ...] = get_args(Status)
FINISHED = frozenset({"done", "diverged"})
"""Statuses with a result: a run that diverged has one, a failed or interrupted one does
not."""

Result = float | bool | None


@dataclass(frozen=True)
class Slot:
    """The place of a run in the pack that computed it.

    Attributes:
        size: number of runs in the pack.
        slot: index of this run in the pack, from 0.
        how: whether the runs on a device were computed one after the other (``loop``)
            or vectorised (``vmap``).
        devices: number of devices over which the pack was spread.
        tolerance: see `rnnjax.training.pack.TOLERANCE`; 0 means that the run is bitwise
            identical to the same run computed without a pack.
    """

    size: int
    slot: int
    how: str | None = None
    devices: int | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Manifest:
    """Everything about a run except its arrays.

    Attributes:
        run_id: see `rnnjax.store.run_id.run_id_of`.
        lineage: see `rnnjax.store.run_id.lineage`.
        name: the name given by the user; cosmetic.
        status: one of `STATUSES`.
        environment: versions, device, flags, precision.
        source_digest: see `rnnjax.store.source.source_digest`.
        created: ISO 8601 time in UTC at which the run began.
        finished: the same for its end; None while it runs.
        steps: number of training steps completed.
        diverged_at: training step at which the loss or a parameter left its bounds.
        error: one sentence, for a failed run.
        seeds: seeds by purpose.
        compile_seconds: wall seconds of compilation, for the whole pack.
        run_seconds: this run's share of the wall seconds of its pack's training, in
            proportion to its updates.
        results: final numbers, by name; None where not applicable.
        metric: name of the task's metric in results and files: ``accuracy`` stands for
            ``test_accuracy``, ``validation_accuracy``, ….
        pack: place in the pack; None for a run that was never packed.
        resumed_from: number of updates made by the shorter run of the same lineage from
            which this run resumed; 0 if it did not.
        digests: SHA-256 of the data that was read and of the user's files, by role.
        task: `rnnjax.tasks.base.TaskSpec` as a mapping: sizes that the model needs.
        definitions: version of the definition of each stored probe variable.
        files: SHA-256 of the files of the run, by name.
        schema: `SCHEMA_VERSION` of the record.
    """

    run_id: str
    lineage: str
    name: str
    status: Status
    environment: Environment
    source_digest: str
    created: str
    finished: str | None = None
    steps: int = 0
    diverged_at: int | None = None
    error: str | None = None
    seeds: dict[str, int] = field(default_factory=dict)
    compile_seconds: float | None = None
    run_seconds: float | None = None
    results: dict[str, Result] = field(default_factory=dict)
    metric: str | None = None
    pack: Slot | None = None
    resumed_from: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    definitions: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {STATUSES}, not {self.status!r}")

    @property
    def is_finished(self) -> bool:
        """Whether the run ended with a result."""
        return self.status in FINISHED

    def replace(self, **changes: Any) -> "Manifest":
        """A copy with changed fields, as with ``dataclasses.replace``."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Indented JSON with its own digest; keeps NaN (see `store.sealed_json`)."""
        return sealed_json.sealed(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """The inverse of `to_json`; fields of a later version are ignored.

        Raises:
            Damaged: the text is not a manifest, or was changed after it was written.
            OtherFormat: it was written with another `SCHEMA_VERSION`.
        """
        try:
            entries = sealed_json.opened(text)
            check_schema(entries, "move the folder of that run out of the pool")
            entries["environment"] = _build(Environment, entries["environment"])
            if entries.get("pack"):
                entries["pack"] = _build(Slot, entries["pack"])
            return _build(cls, entries)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(
                f"this is not a manifest of a run: {one_line(error)}"
            ) from None


class OtherFormat(UserError):
    """A record was written with another `SCHEMA_VERSION`."""


class Damaged(UserError):
    """A file of a pool is missing, or was changed after it was written."""


def check_schema(entries: Mapping[str, Any], advice: str) -> None:
    """Raise `OtherFormat` unless the record of a run has this `SCHEMA_VERSION`.

    Args:
        entries: the record.
        advice: what to do with a record of another version.

    Raises:
        OtherFormat: see above.
        KeyError: it is not the record of a run.
    """
    if not {"run_id", "identity"} & entries.keys():  # its name up to format 2
        raise KeyError("run_id")
    version = entries.get("schema", 1)
    if version != SCHEMA_VERSION:
        raise OtherFormat(
            f"it is a record of format {version}, but this version of rnnjax reads "
            f"format {SCHEMA_VERSION}: {advice}, or read it with the version that "
            "wrote it"
        )


def now() -> str:
    """The current time in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _build(kind: type[Any], entries: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    kept = {key: value for key, value in entries.items() if key in known}
    if kind is Environment and kept.get("git"):
        kept["git"] = _build(Git, kept["git"])
    check_types(kind, kept)
    return kind(**kept)
