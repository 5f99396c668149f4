"""An unfinished attempt at a run: what belongs to it, and how it is removed."""

from contextlib import suppress
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.atomic import TEMPORARY
from rnnjax.store.rundir import FILES, MANIFEST, METRICS, RunDir


FOLDERS = {str(Path(name).parent) for name in FILES}


def is_attempt(run: RunDir) -> bool:
    """Whether a folder holds an unfinished attempt and nothing else.

    Someone may have moved or linked another run there, or put files there.
    """
    if run.path.is_symlink() or _foreign(run.path):
        return False
    try:
        return not run.manifest().is_finished
    except UserError:
        return not (run.path / METRICS).exists()


def discard(run: RunDir) -> None:
    """Remove an attempt's own files, and its folders if nothing else is in them.

    What cannot be removed stays; the next launch replaces it or moves it to quarantine.
    """
    foreign = _foreign(run.path)
    for entry in sorted([run.path, *run.path.rglob("*")], reverse=True):
        with suppress(OSError):
            if entry not in foreign:
                entry.rmdir() if entry.is_dir() else entry.unlink()


def _foreign(folder: Path) -> list[Path]:
    """Entries that do not belong to a run directory."""
    return [entry for entry in folder.rglob("*") if not _belongs(entry, folder)]


def _belongs(entry: Path, folder: Path) -> bool:
    name = entry.relative_to(folder).as_posix()
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return name in FOLDERS
    if temporary := TEMPORARY.fullmatch(entry.name):
        name = entry.with_name(temporary["name"]).relative_to(folder).as_posix()
    return name in (*FILES, MANIFEST)
