"""Where the numbers of a sweep come from."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.report.aggregate import median
from rnnjax.report.naming import number
from rnnjax.store.environment import Environment, Git
from rnnjax.store.manifest import Manifest
from rnnjax.store.rundir import RunDir
from rnnjax.store.sweep_record import SWEEP, SweepRecord, read_sweep


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The origin of a sweep.

    Attributes:
        name: of the sweep, or of the folder.
        command: that repeats it; None if it was not recorded.
        facts: pairs of a heading and what it says.
    """

    name: str
    command: str | None
    facts: tuple[tuple[str, str], ...]


def sweep_record(folder: Path) -> SweepRecord | None:
    """The record of a sweep folder; None for a pool or a single run.

    Raises:
        UserError: there is one, and it is damaged.
    """
    return read_sweep(folder) if (folder / SWEEP).is_file() else None


def provenance(
    folder: Path, record: SweepRecord | None, runs: pl.DataFrame
) -> Provenance:
    """Collect the origin of some runs.

    Args:
        folder: of the sweep, the pool or the run.
        record: of the sweep.
        runs: `rnnjax.report.runs.Runs.frame`.
    """
    facts = [("Runs", _statuses(runs, record))]
    if record is not None:
        facts.append(("Launched", record.created))
    manifests = [found for found in map(_manifest, runs["path"]) if found is not None]
    environments = [manifest.environment for manifest in manifests]
    facts += [
        ("Versions", _some(_versions(e) for e in environments)),
        ("Source", _some(_commit(e.git) for e in environments if e.git)),
        ("Digests of numeric source", _digests(manifests)),
        ("Device", _some(_device(e) for e in environments)),
        ("Time", _times(runs)),
    ]
    return Provenance(
        name=record.name if record else folder.name,
        command=record.command if record else None,
        facts=tuple((name, text) for name, text in facts if text),
    )


def _manifest(path: str) -> Manifest | None:
    try:
        return RunDir(Path(path)).manifest()
    except UserError:  # A run that is being written anew has none for a moment.
        return None


def _statuses(runs: pl.DataFrame, record: SweepRecord | None) -> str:
    counts = Counter(runs["status"].to_list())
    text = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    missing = len(record.runs) - len(runs) if record else 0
    absent = f", {missing} not begun" if missing > 0 else ""
    return f"{len(runs)} ({text}{absent})" if text else f"0{absent}"


def _some(texts) -> str:
    """Different texts, the most frequent first."""
    return "; ".join(text for text, _ in Counter(texts).most_common())


def _versions(environment: Environment) -> str:
    return ", ".join(f"{name} {v}" for name, v in environment.versions.items())


def _digests(manifests: Sequence[Manifest]) -> str:
    """Digests of the code of the runs, which depend on cell and task."""
    found = dict.fromkeys(manifest.source_digest for manifest in manifests)
    return ", ".join([*list(found)[:4], *(["…"] if len(found) > 4 else [])])


def _commit(git: Git) -> str:
    return f"git {git.commit[:12]}" + (" with local changes" if git.dirty else "")


def _device(environment: Environment) -> str:
    parts = [
        f"{environment.device_count} × {environment.device}",
        count(environment.cpu_count, "core"),
        "float64" if environment.x64 else "float32",
    ]
    return ", ".join([*parts, *filter(None, [environment.xla_flags])])


def _times(runs: pl.DataFrame) -> str:
    parts = []
    for key, words in (
        ("compile_seconds", "compilation of its pack"),
        ("run_seconds", "training"),
    ):
        known = runs[key].drop_nulls()
        if len(known):
            seconds = number(median(known), 1)
            parts.append(f"{words}: median {seconds} s a run")
    return "; ".join(parts)
