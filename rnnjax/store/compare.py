"""Compare two runs: where their configurations differ, and their final numbers."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from rnnjax.store.index import flatten
from rnnjax.store.manifest import Manifest
from rnnjax.store.run_id import COSMETIC
from rnnjax.store.rundir import RunDir


Part = Literal["configuration", "run", "result"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """One fact about two runs.

    Attributes:
        part: where it comes from.
        key: its name; dotted for a configuration key.
        first, second: its value in each run; None where a run has none.
    """

    part: Part
    key: str
    first: Any
    second: Any


def compare(first: RunDir, second: RunDir) -> list[Pair]:
    """Configuration differences, how each run was computed, and all final numbers.

    Cosmetic keys are left out, and so are versions and source digests that are equal.

    Raises:
        UserError: one of them cannot be read.
    """
    configs = [dict(flatten(run.config())) for run in (first, second)]
    manifests = [run.manifest() for run in (first, second)]
    origins = [dict(_origin(manifest)) for manifest in manifests]
    results = [manifest.results for manifest in manifests]
    different = [
        pair
        for pair in _pairs("configuration", *configs)
        if pair.first != pair.second and pair.key.partition(".")[0] not in COSMETIC
    ]
    always = ("status", "steps", "run_seconds", "compile_seconds")
    facts = [
        pair
        for pair in _pairs("run", *origins)
        if pair.key in always or pair.first != pair.second
    ]
    return [*different, *facts, *_pairs("result", *results)]


def _pairs(part: Part, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Pair]:
    return [Pair(part, k, one.get(k), other.get(k)) for k in {**one, **other}]


def _origin(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    for name in ("status", "steps", "diverged_at", "run_seconds", "compile_seconds"):
        yield name, getattr(manifest, name)
    place = manifest.environment
    for name in ("device", "device_count", "xla_flags", "x64", "prng"):
        yield name, getattr(place, name)
    yield "source_digest", manifest.source_digest
    yield "commit", place.git.commit[:12] if place.git else None
    for library, version in place.versions.items():
        yield f"version.{library}", version
