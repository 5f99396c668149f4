"""Where the numbers of a sweep come from."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.report.aggregate import median
from rnnjax.report.naming import number
from rnnjax.store.environment import Environment, Git
from rnnjax.store.manifest import Manifest
from rnnjax.store.rundir import RunDir
from rnnjax.store.sweep_record import SweepRecord


def provenance(
    folder: Path, record: SweepRecord | None, runs: pl.DataFrame
) -> dict[str, Any]:
    """The origin of some runs: name, command (None: not recorded), and facts."""
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
    return {
        "name": record.name if record else folder.name,
        "command": record.command if record else None,
        "facts": [(name, text) for name, text in facts if text],
    }


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
        environment.xla_flags,
    ]
    return ", ".join(filter(None, parts))


def _times(runs: pl.DataFrame) -> str:
    names = {
        "compilation of its pack": runs["compile_seconds"].drop_nulls(),
        "training": runs["run_seconds"].drop_nulls(),
    }
    return "; ".join(
        f"{name}: median {number(median(known), 1)} s a run"
        for name, known in names.items()
        if len(known)
    )
