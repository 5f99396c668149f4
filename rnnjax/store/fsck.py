"""Examine a pool: damaged runs, an index that tells something else, leftovers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.store.checkpoint import PACKS
from rnnjax.store.findings import Finding
from rnnjax.store.index import INDEX
from rnnjax.store.leases import LEASES, leased
from rnnjax.store.pool import Pool
from rnnjax.store.pool_findings import checkpoints, index, leftovers, places, sweeps
from rnnjax.store.quarantine import QUARANTINE, damage
from rnnjax.store.run_findings import attempts, damaged, identity_of, rank_of, twice
from rnnjax.store.rundir import CONFIG, MANIFEST, RunDir, identity_in
from rnnjax.store.sweep_record import SWEEPS


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
    findings = list(places(folder))
    busy = leased(folder)
    same: dict[str, list[RunDir]] = {}
    finished = 0
    for run in runs:
        if run.path.is_symlink():
            text = f"'{run.path}' is a link; what it leads to is looked at in its place"
            findings.append(Finding("note", text))
            continue
        if identity_of(run) in busy:
            continue
        if why := damage(run):
            findings.append(damaged(run, folder, why))
            continue
        if not run.has(MANIFEST):  # killed as it began
            continue
        manifest = run.manifest()
        finished += manifest.is_finished
        findings += attempts(run, folder)
        same.setdefault(manifest.identity, []).append(run)
    known = {identity: max(several, key=rank_of) for identity, several in same.items()}
    for identity, several in same.items():
        others = [run for run in several if run != known[identity]]
        findings += [twice(run, known[identity], folder) for run in others]
    findings += checkpoints(folder, known)
    findings += index(folder, known, bool(busy))
    named = {identity_in(run.path.name) for run in runs}
    findings += sweeps(folder, known.keys() | named)
    findings += leftovers(folder)
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
    if entry.name in (LEASES, PACKS, SWEEPS, QUARANTINE):
        return False
    return (entry / MANIFEST).is_file() or (entry / CONFIG).is_file()
