"""From overrides to jobs: every job is composed and checked before any of them starts.

A composition by Hydra takes about 50 ms, so each combination of groups is composed only
once; the values of the other keys are then set on it and checked by the schema.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.devices import check_settings
from rnnjax.errors import UserError
from rnnjax.sweeps import grid
from rnnjax.sweeps.axes import parse_axes
from rnnjax.sweeps.grid import ZIP, Axes
from rnnjax.sweeps.hydra_callbacks import check_callbacks, split_words
from rnnjax.sweeps.hydra_session import Session, session
from rnnjax.sweeps.jobs import Job, make_job, task_length
from rnnjax.sweeps.quoting import as_typed, quoted_unless_call
from rnnjax.sweeps.resolve import Frame
from rnnjax.sweeps.settings import LaunchSettings


@dataclasses.dataclass(frozen=True)
class Plan:
    """Jobs that are ready to be launched, and how.

    Attributes:
        jobs: without duplicates, in the order of the command line.
        settings: the launch settings that all jobs share.
        varied: keys with more than one value.
    """

    jobs: tuple[Job, ...]
    settings: LaunchSettings
    varied: tuple[str, ...]


def compose(*overrides: str) -> Job:
    """The one job that the overrides describe.

    Raises:
        UserError: the job is invalid; the message is one sentence.

    >>> job = compose("cell=lstm", "task.distance=16", "lr=1e-3")
    >>> job.name, job.config.cell, dict(job.config.task_options)["distance"]
    ('lstm-opinion', 'lstm', 16)
    """
    (job,) = plan(overrides, multirun=False).jobs
    return job


def compose_sweep(overrides: Sequence[str]) -> list[Job]:
    """All jobs of a sweep, as ``rnnjax train -m`` makes them.

    >>> [job.name for job in compose_sweep(["cell=elman,gru", "seed=0"])]
    ['elman-opinion', 'gru-opinion']
    """
    return list(plan(overrides, multirun=True).jobs)


def plan(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    config_dir: str | Path | None = None,
    callbacks: bool = False,
) -> Plan:
    """The jobs and settings of a command.

    Args:
        overrides: ``key=value``, in Hydra's grammar.
        multirun: whether keys may have several values.
        config_dir: folder with the user's own variants and experiments.
        callbacks: whether overrides may name Hydra callbacks; if so, the caller must
            call them.

    Raises:
        UserError: a job is invalid; the message is one sentence.
    """
    check_settings()
    task_length.cache_clear()
    own, rest = split_words(overrides) if callbacks else ([], overrides)
    own.append(f"hydra.mode={'MULTIRUN' if multirun else 'RUN'}")
    with session(config_dir) as hydra:
        limit = grid.max_jobs(rest)
        given = parse_axes(rest, hydra, limit)
        sweeps = [
            _with_experiment(str(name), given, hydra, limit)
            for name in given.get("experiment", ("none",))
        ]
        grid.check_count(sum(map(grid.size, sweeps)), limit)
        points = [point for axes in sweeps for point in grid.product(axes)]
        frames: dict[tuple[tuple[str, str], ...], Frame] = {}
        jobs: dict[Any, Job] = {}
        settings = None
        for point in points:
            choices, entries = point.split(hydra.groups)
            key = tuple(sorted(choices.items()))
            if key not in frames:
                composed = hydra.compose(choices, own, rest)
                frames[key] = Frame(*composed, hydra.options)
            job, own_settings = make_job(frames[key], entries, point, len(jobs))
            jobs.setdefault(job.key, job)
            differ = settings is not None and own_settings != settings
            if (differ or len(jobs) > 1) and not multirun:
                _refuse_sweep(sweeps[0], given)
            if differ:
                hint = _hint("out", given.get("out", ()))
                raise UserError(
                    "out, name, launcher, pack, checkpoint, max_jobs, stale and "
                    "dry_run apply to a whole sweep and cannot differ between its "
                    f"jobs{hint}"
                )
            settings = own_settings
    assert settings is not None
    first, *others = [frame.hydra.callbacks for frame in frames.values()]
    if any(other != first for other in others):
        raise UserError(
            "hydra.callbacks apply to a whole sweep and cannot differ between its jobs"
        )
    check_callbacks(first)
    varied = tuple(dict.fromkeys(key for point in points for key in point.varied))
    return Plan(tuple(jobs.values()), settings, varied)


def _with_experiment(name: str, given: Axes, hydra: Session, limit: int) -> Axes:
    """The axes of an experiment, overridden and extended by those in `given`."""
    if name == "none":
        return given
    tree, *_ = hydra.compose({"experiment": name})
    stated: Any = tree.get("sweep") or {}
    if not isinstance(stated, Mapping):
        raise UserError(f"experiment {name}: sweep must be a mapping of keys to values")
    overrides = []
    for key, values in stated.items():
        if values == []:
            raise UserError(f"experiment {name}: {key} in its sweep has no values")
        several = values if isinstance(values, list) else [values]
        overrides.append(f"{key}={','.join(map(quoted_unless_call, several))}")
    axes = parse_axes(overrides, hydra, limit)
    if ZIP in axes:  # given keys take precedence over those of the experiment
        axes[ZIP] = grid.without(axes[ZIP], given)
    for key in grid.keys_of(given[ZIP]) if ZIP in given else ():
        axes.pop(key, None)
    return axes | dict(given) | {"experiment": (name,)}


def _refuse_sweep(axes: Axes, given: Axes) -> None:
    varied = [key for key, values in axes.items() if len(values) > 1]
    own = [key for key in varied if key in given]
    keys = ", ".join(own or varied)
    source = "" if own else f"experiment={axes['experiment'][0]}: "
    hint = _hint(own[0], axes[own[0]]) if len(own) == 1 else ""
    raise UserError(f"{source}{keys} with several values is a sweep; add -m{hint}")


def _hint(key: str, values: Sequence[Any]) -> str:
    """Advice how to write a path with commas, in case the values are meant as one."""
    if len(values) < 2 or key.rpartition(".")[2] not in ("out", "path"):
        return ""
    return f", or write {as_typed(key, ','.join(map(str, values)))} for one path"
