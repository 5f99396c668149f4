"""One file of a pool, changed: all the ways, and what the public readers make of it."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnjax.errors import UserError
from rnnjax.results import load
from rnnjax.run import open_run
from rnnjax.store import sealed_json
from rnnjax.store.checkpoint import COMMIT, PACKS
from rnnjax.store.fsck import examine
from rnnjax.store.index import INDEX
from rnnjax.store.manifest import SCHEMA_VERSION
from rnnjax.store.rundir import (
    BEST,
    CONFIG,
    MANIFEST,
    METRICS,
    PARAMS,
    PARAMS_AT,
    PROBES,
    STATE,
    RunDir,
)
from rnnjax.store.sweep_record import SWEEP, SWEEPS, read_sweep


OF_A_RUN = (CONFIG, MANIFEST, METRICS, PARAMS, PARAMS_AT, BEST, STATE, PROBES)

Change = Callable[[bytes], bytes | None]
"""The new content from the old; None: the file is removed."""


@dataclass(frozen=True)
class Wound:
    """One change of one file, which is given relative to the pool."""

    file: Path
    how: str
    change: Change

    def __str__(self) -> str:
        return f"{self.file} {self.how}"

    def inflict(self, pool: Path) -> bytes | None:
        """Change the file; its content before, or None where that says the same."""
        file = pool / self.file
        old = file.read_bytes()
        new = self.change(old)
        if new is not None and new.strip() == old.strip():
            return None
        if new is None:
            file.unlink()
        else:
            file.write_bytes(new)
        return old


def files(pool: Path) -> Iterator[tuple[Path, Path | None]]:
    """One file of each kind, and the same of another run or save if there is one."""
    runs = sorted(file.parent for file in pool.glob(f"*/{BEST}"))
    for name in OF_A_RUN:
        one, other = (run.relative_to(pool) / name for run in (runs[0], runs[-1]))
        yield one, other if one != other else None
    yield Path(INDEX), None
    yield next(pool.glob(f"{SWEEPS}/*/{SWEEP}")).relative_to(pool), None
    pack = next((pool / PACKS).iterdir())
    yield (pack / COMMIT).relative_to(pool), None
    parts = sorted(pack.glob("part-*.npz"))
    yield parts[0].relative_to(pool), parts[-1].relative_to(pool)
    saved = [file for file in pack.glob("step-*/**/*") if file.is_file()]
    yield from ((file.relative_to(pool), None) for file in sorted(saved))


def deep(pool: Path, file: Path, foreign: Path | None) -> Iterator[Wound]:
    """The few after which a sweep is launched again."""
    size = (pool / file).stat().st_size
    for place in sorted({0, size // 2, size - 2}):
        yield Wound(file, f"flipped at {place}", flip(place, 2))
    for length in sorted({size // 2, size - 2}):
        yield Wound(file, f"cut to {length}", cut(length))
    yield Wound(file, "emptied", cut(0))
    yield Wound(file, "missing", lambda old: None)
    if foreign is not None:
        content = (pool / foreign).read_bytes()
        yield Wound(file, f"that of {foreign.parent.name}", lambda old: content)


def all_of(
    pool: Path, file: Path, foreign: Path | None, places: int, seed: int
) -> Iterator[Wound]:
    """Those after which everything is read; `places` flips, or one of every byte."""
    dice = random.Random(f"{seed} {file.name}")
    size = (pool / file).stat().st_size
    for place in spread(size, places):
        yield Wound(file, f"flipped at {place}", flip(place, dice.randrange(8)))
    for length in spread(size, max(2, places // 4)):
        yield Wound(file, f"cut to {length}", cut(length))
    yield from deep(pool, file, foreign)
    if file.name in (MANIFEST, INDEX):
        yield Wound(file, "of a later version", later)


def spread(size: int, most: int) -> list[int]:
    """At most so many places, evenly spread."""
    if size <= most:
        return list(range(size))
    return [i * size // most for i in range(most)]


def flip(place: int, bit: int) -> Change:
    """One bit the other way."""
    return lambda old: old[:place] + bytes([old[place] ^ (1 << bit)]) + old[place + 1 :]


def cut(length: int) -> Change:
    """Only the beginning."""
    return lambda old: old[:length]


def later(content: bytes) -> bytes:
    """All records of a file, of the next version, with digests that are right."""
    lines = content.splitlines() if content.count(b"\n{") else [content]
    records = [
        sealed_json.opened(line) | {"schema": SCHEMA_VERSION + 1} for line in lines
    ]
    return "".join(sealed_json.sealed(one) + "\n" for one in records).encode()


@dataclass(frozen=True)
class Reading:
    """What the readers of a pool give, by reader and run, and what they say instead."""

    given: dict[str, str]
    said: tuple[str, ...]


def read(pool: Path) -> Reading:
    """Call all public readers, and `fsck`."""
    given: dict[str, str] = {}
    said: list[str] = []
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        with refused(said):
            results = load(pool)
            given |= by_run("table", results.runs)
            given |= by_run("metrics", results.metrics([]))
            probes = results.probes([])
            for i, run in enumerate(probes["run"].values):
                given[f"probes of {run}"] = str(probes.isel(run=i).to_dict())
        for folder in sorted(pool.glob("*-*/")):
            if has_ended(folder):
                given |= of_run(folder, said)
        for file in pool.glob(f"{SWEEPS}/*/{SWEEP}"):
            with refused(said):
                given[str(file.parent)] = str(read_sweep(file.parent))
    said += [str(one.message) for one in noted]
    with refused(said):
        said += [one.text for one in examine(pool).findings]
    return Reading(given, tuple(said))


def has_ended(folder: Path) -> bool:
    """Whether a run is to be read: it is finished, or nobody knows."""
    try:
        return RunDir(folder).manifest().is_finished
    except UserError:
        return True


def of_run(folder: Path, said: list[str]) -> dict[str, str]:
    """What `rnnjax.open_run` gives of one run."""
    given: dict[str, str] = {}
    run = open_run(folder)
    readers: dict[str, Callable[[], Any]] = {
        "manifest": lambda: run.manifest,
        "config": lambda: run.config,
        "params": lambda: run.params,
        "best": lambda: run.best_params,
        "params_at": lambda: run.params_at(4),
        "metrics": lambda: run.metrics.to_dict(as_series=False),
        "probes": lambda: run.probes.to_dict(),
        "state": lambda: run.directory.state_bytes(),
    }
    for name, reader in readers.items():
        with refused(said):
            given[f"{folder.name} {name}"] = str(reader())
    return given


def by_run(name: str, table: Any) -> dict[str, str]:
    """Rows of each run."""
    rows: dict[str, list[Any]] = {}
    for row in table.to_dicts():
        rows.setdefault(row["run_id"], []).append(row)
    return {f"{name} of {run_id}": str(found) for run_id, found in rows.items()}


@contextmanager
def refused(said: list[str]) -> Iterator[None]:
    """Keep what a reader says instead of an answer."""
    try:
        yield
    except UserError as error:
        said.append(str(error))
