"""Implementation of the commands; each imports what it needs when called."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from rnnjax.store.rundir import RunDir
from rnnjax.terminal import console, error_screen


def train(
    overrides: Sequence[str],
    multirun: bool,
    config_dir: str | None,
    command: str,
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
    manifest = run.manifest()
    console().print(f"{manifest.status} after {manifest.steps} steps: {run.path}")
    for name in ("run_seconds", "compile_seconds"):
        if (taken := getattr(manifest, name)) is not None:
            console().print(f"  {name:20} {taken:.1f}")
    for name, value in manifest.results.items():
        console().print(f"  {name:20} {cell_text(value)}")


def show_list(what: str, config_dir: str | None) -> int:
    """Print a table of the named things of one kind, with options and defaults."""
    from rnnjax.cli.listing import entries

    table = Table("name", "", "options", title=what)
    for entry in entries(what, config_dir):
        table.add_row(entry.name, entry.doc, entry.options)
    console().print(table)
    return 0


def report(folder: str) -> int:
    """Write the report of a sweep and print where it is."""
    from rnnjax.report import build

    console().print(f"report: {build(Path(folder))}", soft_wrap=True)
    return 0


def cell_text(value: object) -> str:
    """A value as shown in a table: floats with four digits, None as empty text."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
