"""The output of a dry run."""

from rich.table import Table

from rnnjax.sweeps.compose import Plan
from rnnjax.sweeps.forecast import Group, forecast
from rnnjax.sweeps.resources import in_a_line
from rnnjax.terminal import console


SHOWN = 200
"""Number of jobs that are listed individually."""


def show(made: Plan) -> int:
    """Print the jobs, and the groups that would share a program; launch nothing.

    Raises:
        UserError: data cannot be read, or two jobs are the same run.
    """
    groups = forecast(made.jobs, made.settings, made.settings.dry_run == "full")
    jobs = Table("job", "overrides")
    for job in made.jobs[:SHOWN]:
        jobs.add_row(job.name, " ".join(job.overrides))
    if len(made.jobs) > SHOWN:
        jobs.add_row("…", f"and {len(made.jobs) - SHOWN} more")
    heads = "runs done stale packs updates memory compile time".split()
    table = Table("group", "task", "program", *heads)
    for group in groups:
        labels = ", ".join(group.labels[:3]) + (", …" if len(group.labels) > 3 else "")
        numbers = (group.runs, group.done, group.stale, group.packs, group.steps)
        size = "" if group.bytes is None else f"{group.bytes / 1e6:.3g} MB"
        times = _time(group.compile_seconds), _time(group.seconds)
        row = labels, group.task, group.sizes, *map(str, numbers), size, *times
        table.add_row(*row)
    memory = max((group.minimum[0] for group in groups), default=0)
    disk = sum(group.minimum[1] for group in groups)
    takes = in_a_line(memory, disk, made.settings)
    console().print(jobs, table, _legend(made, groups), takes, sep="\n")
    return 0


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _legend(made: Plan, groups: list[Group]) -> str:
    runs, done = (sum(getattr(g, name) for g in groups) for name in ("runs", "done"))
    parts = [f"{len(made.jobs)} jobs in {len(groups)} groups, {done} of {runs} done"]
    known = [group.seconds for group in groups if group.seconds is not None]
    if groups and len(known) == len(groups):
        parts.append(f"about {_time(sum(known))} to run")
    elif made.settings.dry_run != "full":
        parts.append("--dry-run=full also estimates memory and time")
    else:
        parts.append("no time estimate for groups that may not fit in memory")
    if any(group.stale for group in groups) and made.settings.stale == "error":
        parts.append("stale runs need stale=accept or stale=rerun")
    return "; ".join(parts)
