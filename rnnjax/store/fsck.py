"""Examine a pool: damaged runs, an index that tells something else, leftovers."""

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.store.atomic import writable
from rnnjax.store.checkpoint import PACKS, PackCheckpoint
from rnnjax.store.claims import CLAIMS, STALE_SECONDS, claimed, lives, stale_files
from rnnjax.store.identity import digest
from rnnjax.store.index import INDEX, read_index, row_of
from rnnjax.store.manifest import OtherFormat
from rnnjax.store.pool import Pool, by_rank
from rnnjax.store.quarantine import QUARANTINE, damage, set_aside
from rnnjax.store.rundir import CONFIG, MANIFEST, NEXT, RunDir, identity_in
from rnnjax.store.sweep_record import SWEEP, SWEEPS, read_sweep
from rnnjax.store.writing import settle


Kind = Literal["damaged", "index", "unsettled", "leftover", "note"]

OLD_SECONDS = 3600.0
"""Age of a temporary file of another machine's process that counts as left behind."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a pool.

    Attributes:
        kind: ``damaged``: a result or a checkpoint is lost or not to be trusted;
            ``index``: the table of runs; ``unsettled``: a result that was sealed and
            not moved to its place; ``leftover``: what a killed process left; ``note``:
            nothing can be done about it here.
        text: a sentence.
        mend: does what `text` says of a repair; None for notes.
    """

    kind: Kind
    text: str
    mend: Callable[[], object] | None = None


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        runs: how many run directories there are.
        finished: how many of them are sealed and whole.
        busy: how many a living process works on; they were not looked at.
        findings: in the order in which they are to be mended.
    """

    runs: int
    finished: int
    busy: int
    findings: tuple[Finding, ...]


def examine(path: str | Path) -> Examination:
    """Look at every file of a pool; nothing is written.

    Raises:
        UserError: the folder is no pool.
        OtherFormat: its runs are of another version.
    """
    folder = user_path(path, f"'{path}' is no folder").resolve()
    if not folder.is_dir():
        raise UserError(f"there is no folder '{path}'")
    runs = [RunDir(entry) for entry in sorted(folder.iterdir()) if _holds_run(entry)]
    if not runs and not (folder / INDEX).is_file():
        raise UserError(f"'{path}' is no pool of runs: it holds no index and no run")
    busy = claimed(folder)
    findings: list[Finding] = []
    same: dict[str, list[RunDir]] = {}
    finished = 0
    for run in runs:
        if run.path.is_symlink():
            text = f"'{run.path}' is a link; what it leads to is looked at in its place"
            findings.append(Finding("note", text))
            continue
        if _identity(run) in busy:
            continue
        if why := damage(run):
            findings.append(_damaged(run, folder, why))
            continue
        if not run.has(MANIFEST):  # killed as it began
            continue
        manifest = run.manifest()
        finished += manifest.is_finished
        findings += _attempts(run, folder)
        same.setdefault(manifest.identity, []).append(run)
    known = {identity: max(several, key=_rank) for identity, several in same.items()}
    for identity, several in same.items():
        others = [run for run in several if run != known[identity]]
        findings += [_twice(run, known[identity], folder) for run in others]
    findings += _checkpoints(folder, known, bool(busy))
    findings += _index(folder, known, bool(busy))
    named = {identity_in(run.path.name) for run in runs}
    findings += _sweeps(folder, known.keys() | named)
    findings += _leftovers(folder)
    return Examination(len(runs), finished, len(busy), tuple(findings))


def repair(path: str | Path, findings: Iterable[Finding]) -> None:
    """Mend what was found, and write the index anew if runs have changed.

    Raises:
        UserError: something cannot be moved or written.
    """
    kinds = set()
    for finding in findings:
        if finding.mend:
            finding.mend()
            kinds.add(finding.kind)
    if kinds - {"note"}:
        Pool(Path(path)).rebuild()


def _holds_run(entry: Path) -> bool:
    if entry.name in (CLAIMS, PACKS, SWEEPS, QUARANTINE):
        return False
    return (entry / MANIFEST).is_file() or (entry / CONFIG).is_file()


def _identity(run: RunDir) -> str:
    """That of the manifest, or of a damaged one by the name of the folder."""
    try:
        return run.manifest().identity
    except UserError:
        return identity_in(run.path.name)


def _rank(run: RunDir) -> tuple[bool, str]:
    return by_rank(row_of(run))


def _aside(run: RunDir, pool: Path, why: str, still: Callable[[], object]) -> None:
    """Move a run to quarantine if nobody has begun or mended it since it was seen."""
    if _identity(run) not in claimed(pool) and still():
        set_aside(run.path, pool, why)


def _damaged(run: RunDir, pool: Path, why: str) -> Finding:
    mend = partial(_aside, run, pool, why, partial(damage, run))
    return Finding("damaged", f"{why.rstrip('.')}; repair moves it to quarantine", mend)


def _attempts(run: RunDir, pool: Path) -> Iterator[Finding]:
    attempt = run.path / NEXT
    if not attempt.is_dir():
        return
    # The run was found whole: files of a sealed attempt that are not in its folder any
    # more are in their places already.
    if run.later_manifest() is not None:
        text = f"a later result of '{run.path}' is sealed and not in its place"
        yield Finding("unsettled", f"{text}; repair moves it", partial(settle, run))
        return
    if _is_sealed(RunDir(attempt)):
        why = f"'{attempt}' is another run, copied there"
        mend = partial(set_aside, attempt, pool, why)
        yield Finding("leftover", f"{why}; repair moves it to quarantine", mend)
        return
    text = f"'{attempt}' is an attempt that did not end; repair removes it"

    def remove() -> None:
        if _identity(run) not in claimed(pool) and not _is_sealed(RunDir(attempt)):
            _remove(attempt)

    yield Finding("leftover", text, remove)


def _is_sealed(attempt: RunDir) -> bool:
    try:
        return attempt.manifest().is_finished
    except UserError:
        return False


def _twice(run: RunDir, other: RunDir, pool: Path) -> Finding:
    why = f"'{run.path}' is the run of '{other.path}' once more"
    mend = partial(_aside, run, pool, why, lambda: _rank(other) >= _rank(run))
    return Finding("leftover", f"{why}; repair moves it to quarantine", mend)


def _checkpoints(
    pool: Path, known: dict[str, RunDir], working: bool
) -> Iterator[Finding]:
    """Packs that cannot be read, and those of which no run needs them any more."""
    for folder in sorted((pool / PACKS).glob("*")):
        if working or not folder.is_dir():
            continue  # a process may be writing there
        checkpoint = PackCheckpoint(folder)
        try:
            checkpoint.check()
            members = checkpoint.members()
        except UserError as error:
            yield _torn(folder, pool, str(error))
            continue
        runs = [known.get(member) for member in members]
        if not members or all(run and run.manifest().is_finished for run in runs):
            text = f"no run goes on from the checkpoint '{folder}'; repair removes it"
            yield Finding("leftover", text, partial(_remove, folder))


def _torn(folder: Path, pool: Path, why: str) -> Finding:
    def mend() -> None:
        try:
            PackCheckpoint(folder).check()
        except UserError as error:
            set_aside(folder, pool, str(error))

    return Finding("damaged", f"{why.rstrip('.')}; repair moves it to quarantine", mend)


def _index(pool: Path, known: dict[str, RunDir], working: bool) -> Iterator[Finding]:
    index = pool / INDEX
    mend = Pool(pool).rebuild
    try:
        found = read_index(index)
    except OtherFormat:
        raise
    except UserError as error:
        yield Finding("note", str(error))
        return
    if found.damaged:
        text = f"{count(found.damaged, 'line')} of '{index}' cannot be read"
        yield Finding("index", f"{text}; repair writes it anew from the runs", mend)
        return
    wrong = [
        run.path.name
        for identity, run in known.items()
        if (row := found.rows.get(identity)) is None
        or row.manifest != digest(run.manifest_bytes())
        or row.folder != run.path.name
    ]
    gone = [
        row.folder
        for key, row in found.rows.items()
        if key not in known and not (pool / row.folder).is_dir()
    ]
    if wrong or (gone and not working):
        names = ", ".join([*wrong, *gone][:3])
        text = f"'{index}' tells something else than {len(wrong + gone)} runs: {names}"
        yield Finding("index", f"{text}; repair writes it anew from the runs", mend)


def _sweeps(pool: Path, known: Set[str]) -> Iterator[Finding]:
    for file in sorted((pool / SWEEPS).glob(f"*/{SWEEP}")):
        try:
            record = read_sweep(file.parent)
        except UserError as error:
            yield Finding("note", f"{error}; its runs are in the pool all the same")
            continue
        lost = [identity for identity in record.runs if identity not in known]
        if lost:
            text = f"the sweep '{file.parent}' names {len(lost)} of {len(record.runs)}"
            yield Finding("note", f"{text} runs that the pool lacks; launch it again")


def _leftovers(pool: Path) -> Iterator[Finding]:
    for file in stale_files(pool):
        text = f"'{file}' is the claim of a process that is gone; repair removes it"
        yield Finding("leftover", text, partial(_remove, file))
    for file in sorted(pool.rglob(".*.tmp")):
        if file.is_file() and _left_behind(file):
            text = f"'{file}' was left by a killed process; repair removes it"
            yield Finding("leftover", text, partial(_remove, file))


def _left_behind(file: Path) -> bool:
    """Whether the process in the name of a temporary file is gone, or it is old."""
    number = re.fullmatch(r"\..*\.(\d+)\.tmp", file.name)
    if number is None:
        return False
    age = time.time() - file.stat().st_mtime
    return age > (OLD_SECONDS if lives(int(number[1])) else STALE_SECONDS)


def _remove(path: Path) -> None:
    with writable(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
