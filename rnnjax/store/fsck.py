"""Examine a pool: damaged runs, an index that disagrees with the runs, leftovers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.store.checkpoint import PACKS
from rnnjax.store.findings import Finding
from rnnjax.store.index import INDEX
from rnnjax.store.lease_files import leased
from rnnjax.store.leases import LEASES
from rnnjax.store.pool import Pool
from rnnjax.store.pool_findings import checkpoints, index, leftovers, places, sweeps
from rnnjax.store.quarantine import QUARANTINE, damage
from rnnjax.store.run_findings import attempts, damaged, named_run_id, rank_of, twice
from rnnjax.store.rundir import CONFIG, MANIFEST, RunDir, run_id_in
from rnnjax.store.sweep_record import SWEEPS


@dataclass(frozen=True)
class Examination:
    """What was found in a pool.

    Attributes:
        runs: number of run directories.
        finished: number of those that are sealed and intact.
        busy: number of those that a living process works on; they were not examined.
        findings: in the order in which they must be repaired.
    """

    runs: int
    finished: int
    busy: int
    findings: tuple[Finding, ...]


def examine(path: str | Path) -> Examination:
    """Check every file of a pool; nothing is written.

    Raises:
        UserError: the folder is not a pool.
        OtherFormat: its runs were written in another format version.
    """
    folder = user_path(path, f"'{path}' is not a folder").resolve()
    if not folder.is_dir():
        raise UserError(f"there is no folder '{path}'")
    runs = [RunDir(entry) for entry in sorted(folder.iterdir()) if _holds_run(entry)]
    if not runs and not (folder / INDEX).is_file():
        raise UserError(f"'{path}' is not a pool: it contains no index and no runs")
    findings = list(places(folder))
    busy = leased(folder)
    same: dict[str, list[RunDir]] = {}
    finished = 0
    for run in runs:
        if run.path.is_symlink():
            text = f"'{run.path}' is a link and was skipped; check its target instead"
            findings.append(Finding("note", text))
            continue
        if named_run_id(run) in busy:
            continue
        if why := damage(run):
            findings.append(damaged(run, folder, why))
            continue
        if not run.has(MANIFEST):  # the process was killed while starting the run
            continue
        manifest = run.manifest()
        finished += manifest.is_finished
        findings += attempts(run, folder)
        same.setdefault(manifest.run_id, []).append(run)
    known = {run_id: max(several, key=rank_of) for run_id, several in same.items()}
    for run_id, several in same.items():
        others = [run for run in several if run != known[run_id]]
        findings += [twice(run, known[run_id], folder) for run in others]
    findings += checkpoints(folder, known)
    findings += index(folder, known, bool(busy))
    named = {run_id_in(run.path.name) for run in runs}
    findings += sweeps(folder, known.keys() | named)
    findings += leftovers(folder)
    return Examination(len(runs), finished, len(busy), tuple(findings))


def repair(path: str | Path, findings: Iterable[Finding]) -> None:
    """Repair what was found, and rewrite the index if anything was changed.

    Raises:
        UserError: something cannot be moved or written; everything else is repaired.
    """
    kinds, failed = set(), list[UserError]()
    for finding in findings:
        if finding.mend:
            kinds.add(finding.kind)
            try:
                finding.mend()
            except UserError as error:
                failed.append(error)
    if kinds - {"note"}:
        Pool(Path(path)).rebuild()
    if failed:
        raise failed[0]


def _holds_run(entry: Path) -> bool:
    if entry.name in (LEASES, PACKS, SWEEPS, QUARANTINE):
        return False
    return (entry / MANIFEST).is_file() or (entry / CONFIG).is_file()
