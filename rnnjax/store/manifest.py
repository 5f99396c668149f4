"""The manifest of a run: what it was, where it ran, how it ended, its final numbers."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from rnnjax.errors import UserError, one_line
from rnnjax.store import sealed_json
from rnnjax.store.environment import Environment, Git
from rnnjax.store.identity import SCHEMA_VERSION
from rnnjax.store.typed import check_types


Status = Literal["queued", "running", "done", "diverged", "failed", "interrupted"]
STATUSES: tuple[str, ...] = get_args(Status)
FINISHED = frozenset({"done", "diverged"})
"""A run that diverged is a result; one that failed or was interrupted is not."""

Result = float | bool | None


@dataclass(frozen=True)
class Slot:
    """The place of a run in the pack that it was computed in.

    Attributes:
        size: number of runs in the pack.
        slot: place of this run, from 0.
        how: runs of a device were mapped one after the other (``loop``) or side by side
            (``vmap``).
        devices: how many the runs of the pack were spread over.
        tolerance: see `rnnjax.training.pack.TOLERANCE`; 0: the bits of the run alone.
    """

    size: int
    slot: int
    how: str | None = None
    devices: int | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Manifest:
    """Everything about a run but its arrays.

    Attributes:
        identity: see `rnnjax.store.identity.identity`.
        lineage: see `rnnjax.store.identity.lineage`.
        name: what the user called it; cosmetic.
        status: one of `STATUSES`.
        environment: versions, device, flags, precision.
        source_digest: see `rnnjax.store.source.source_digest`.
        created: ISO 8601 time in UTC at which the run began.
        finished: the same for its end; None while it runs.
        steps: training steps that are done.
        diverged_at: training step at which the loss or a parameter left its bounds.
        error: one sentence, for a failed run.
        seeds: by purpose.
        compile_seconds: wall seconds of compilation, shared by the whole pack.
        run_seconds: wall seconds of its pack's training, by this run's part of the
            pack's updates.
        results: final numbers, by name; None where not applicable.
        metric: what ``test_metric`` is, such as ``accuracy``.
        pack: None for a run that was never packed.
        resumed_from: updates that a shorter run of its lineage had made; 0: none.
        digests: SHA-256 by role, of the data that was read and of the user's files.
        task: `rnnjax.tasks.base.TaskSpec` as a mapping: sizes that the model needs.
        definitions: version of the definition of each stored probe variable.
        files: SHA-256 of the files of the run, by name.
        schema: `rnnjax.store.identity.SCHEMA_VERSION` of the record.
    """

    identity: str
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
            raise ValueError(f"status is one of {STATUSES}, not {self.status!r}")

    @property
    def is_finished(self) -> bool:
        """Whether the run ended with a result."""
        return self.status in FINISHED

    def replace(self, **changes: Any) -> "Manifest":
        """A copy with other fields, as ``dataclasses.replace``."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """Indented JSON with its own digest; NaN survives (`store.sealed_json`)."""
        return sealed_json.sealed(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """The inverse of `to_json`; fields of a later version are ignored.

        Raises:
            Damaged: the text is no manifest, or not the one that was written.
            OtherFormat: it is one of another `SCHEMA_VERSION`.
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
    """A record of another `SCHEMA_VERSION`."""


class Damaged(UserError):
    """A file of a pool is missing, or is not what was written."""


def check_schema(entries: Mapping[str, Any], advice: str) -> None:
    """Raise `OtherFormat` unless the record of a run is of this `SCHEMA_VERSION`.

    Args:
        entries: the record.
        advice: what to do with one of another version.

    Raises:
        KeyError: it is not the record of a run.
    """
    if "identity" not in entries:
        raise KeyError("identity")
    version = entries.get("schema", 1)
    if version != SCHEMA_VERSION:
        raise OtherFormat(
            f"it is a record of format {version}, and this version of rnnjax reads "
            f"format {SCHEMA_VERSION}: {advice}, or read it with the version that "
            "wrote it"
        )


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _build(kind: type[Any], entries: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    kept = {key: value for key, value in entries.items() if key in known}
    if kind is Environment and kept.get("git"):
        kept["git"] = _build(Git, kept["git"])
    check_types(kind, kept)
    return kind(**kept)
