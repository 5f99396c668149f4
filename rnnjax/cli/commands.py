"""Implementation of the commands; each imports what it needs when called."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.store.run_id import digest
from rnnjax.store.rundir import RunDir
from rnnjax.terminal import console, error_screen


SHOWN_TRIALS = 10


def train(
    overrides: Sequence[str], multirun: bool, config_dir: str | None, command: str
) -> int:
    """Compose and check all jobs, then launch them; returns 1 if a run failed, else 0.

    Raises:
        UserError: a job is invalid; nothing has been written.
    """
    from rnnjax.devices import use_every_core
    from rnnjax.sweeps.compose import plan

    use_every_core()
    made = plan(overrides, multirun=multirun, config_dir=config_dir, callbacks=True)
    if made.settings.dry_run:
        from rnnjax.cli.dry_run import show

        return show(made)

    from rnnjax.sweeps.hydra_callbacks import HydraCallbacks
    from rnnjax.sweeps.launch import launch
    from rnnjax.sweeps.progress import LiveProgress

    callbacks = HydraCallbacks(made.jobs[0].hydra)
    progress = LiveProgress(error_screen())
    result = launch(made.jobs, made.settings, command, progress, callbacks)
    if multirun:
        from rnnjax.report import summary

        console().print(summary(result.sweep))
        report(str(result.sweep))
    elif result.runs:
        show_run(result.runs[0])
    callbacks.close()
    return 1 if result.failed else 0


def show_run(run: RunDir) -> None:
    """Print the path, status and results of a run."""
    from rnnjax.cli.tables import cell_text

    manifest = run.manifest()
    console().print(f"{manifest.status} after {manifest.steps} steps: {run.path}")
    for name in ("run_seconds", "compile_seconds"):
        if (taken := getattr(manifest, name)) is not None:
            console().print(f"  {name:20} {taken:.1f}")
    for name, value in manifest.results.items():
        console().print(f"  {name:20} {cell_text(value)}")


def report(folder: str) -> int:
    """Write the report of a sweep and print where it is."""
    from rnnjax.report import build

    console().print(f"report: {build(Path(folder))}", soft_wrap=True)
    return 0


def fsck(folder: str, mend: bool) -> int:
    """Print one sentence per problem of a pool; with `mend`, repair them.

    Returns:
        0 if nothing is damaged (after the repair, if any), 1 otherwise. Leftovers of
        killed processes do not count as damage.

    Raises:
        UserError: the folder is not a pool, or a file cannot be moved.
    """
    from rnnjax.store.fsck import examine, repair

    found = examine(folder)
    for finding in found.findings:
        console().print(f"{finding.kind}: {finding.text}", soft_wrap=True)
    if mend and found.findings:
        repair(folder, found.findings)
        left = examine(folder)
        mended = len(found.findings) - len(left.findings)
        console().print(f"repaired {mended} of {len(found.findings)} problems")
        found = left
    kinds = Counter(finding.kind for finding in found.findings)
    parts = [count(found.runs, "run"), f"{found.finished} finished and undamaged"]
    if found.busy:
        parts.append(f"{found.busy} being computed, not checked")
    parts += [f"{number} {kind}" for kind, number in sorted(kinds.items())]
    parts += [] if kinds else ["no problems"]
    console().print(f"{Path(folder)}: {', '.join(parts)}", soft_wrap=True)
    return int(not kinds.keys() <= {"leftover", "note"})


def cache(clear: bool) -> int:
    """Print the size of the folders of compiled programs, or empty them.

    Raises:
        UserError: a file cannot be removed.
    """
    from rnnjax.executables import folder
    from rnnjax.training.sizes import in_bytes

    kept = folder.contents()
    if not kept:
        console().print(
            f"{folder.cache_folder()}: no compiled programs", soft_wrap=True
        )
    for place, files in kept.items():
        size = sum(file.lstat().st_size for file in files)
        if clear:
            folder.remove(files)
        verb = "removed" if clear else "contains"
        entries = count(len(files), "entry", "entries")
        text = f"{place}: {verb} {entries}, {in_bytes(size)}"
        console().print(text, soft_wrap=True)
    limit = in_bytes(folder.LIMIT)
    console().print(f"programs used least recently are removed above {limit}")
    return 0


def search(
    overrides: Sequence[str],
    options: Mapping[str, Any],
    config_dir: str | None,
    command: str,
) -> int:
    """Search, print the best trials and write a table of all of them.

    Returns:
        0, or 1 if every trial failed.

    Raises:
        UserError: optuna is not installed, or the search is invalid.
    """
    from rnnjax.cli.tables import print_table
    from rnnjax.devices import use_every_core
    from rnnjax.store.atomic import make_folder, write_bytes
    from rnnjax.store.frames import csv_bytes
    from rnnjax.sweeps.progress import LiveProgress

    try:
        from rnnjax.sweeps import search as searching
        from rnnjax.sweeps.search_space import SearchConfig
    except ImportError as error:
        if error.name != "optuna":
            raise
        raise UserError("search needs optuna: pip install 'rnnjax[search]'") from None
    use_every_core()
    config, progress = SearchConfig(**options), LiveProgress(error_screen())
    found = searching.search(overrides, config, config_dir, command, progress)
    made = found.settings
    settings = " ".join([*sorted(overrides), *map(str, options.items())])
    folder = Path(made.out) / "searches"
    make_folder(folder)
    file = folder / f"{made.name or 'search'}-{digest(settings.encode())[:12]}.csv"
    write_bytes(file, csv_bytes(found.trials))
    legend = f"the best of {len(found.trials)} trials; all: {file}"
    print_table(found.trials.head(SHOWN_TRIALS), legend)
    return 0 if found.trials["value"].count() else 1
