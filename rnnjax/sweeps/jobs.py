"""A job: the typed configuration of a run, its name, and what it was made from."""

import dataclasses
import functools
import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.cells import CELLS
from rnnjax.errors import UserError
from rnnjax.executables.lookup import remembered
from rnnjax.paths import user_path
from rnnjax.recurrence.diagnosis import CellError, explain
from rnnjax.recurrence.examination import examine
from rnnjax.recurrence.layer import Recurrent
from rnnjax.store.environment import numerics
from rnnjax.store.run_id import lineage, run_id_of
from rnnjax.store.rundir import run_path
from rnnjax.store.source import source_digest
from rnnjax.store.source_facts import imported, parsed
from rnnjax.sweeps.grid import Point
from rnnjax.sweeps.groups import LENGTH
from rnnjax.sweeps.hydra_node import HydraNode
from rnnjax.sweeps.resolve import Frame, options_of, run_config
from rnnjax.sweeps.schema import as_text, leaves, plain
from rnnjax.sweeps.settings import LONGEST_NAME, LaunchSettings, TrackerConfig
from rnnjax.sweeps.user_files import UserFile, loaded_files
from rnnjax.tasks import TASKS, Task
from rnnjax.tasks.twins import check_twins
from rnnjax.training.build import build_cell, signature
from rnnjax.training.config import RunConfig
from rnnjax.training.program import Signature
from rnnjax.training.schedule import Schedule, schedule_of


PROGRAM = ("rnnjax.training.loop", "rnnjax.training.pack")
"""Modules that every run uses."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One run that is ready to start.

    Attributes:
        config: all settings that decide the numbers of the run.
        resolved: the same as nested plain values, plus the tracker and the paths of the
            user's files, as stored in ``config.yaml``.
        overrides: the overrides of only this job, ``key=value``.
        name: short and readable; valid as the name of a folder.
        label: the variant, or else cell and chosen activation; names a line in figures.
        tracker: where results are copied to.
        files: the user's files, each with the class that it defines.
        data: SHA-256 of its data (see `with_data`); None if it reads no data.
        hydra: the part of Hydra's node that jobs share.
        number: index in its sweep, from 0.
        start: the number of updates of the shorter run from which it resumes; 0: none.
        start_folder: the directory of that run in the pool.
        folder: the directory of this run, if the pool already has one, whose name may
            differ from the default; else empty.
    """

    config: RunConfig
    resolved: dict[str, Any]
    overrides: tuple[str, ...]
    name: str
    label: str
    tracker: TrackerConfig
    files: tuple[UserFile, ...] = ()
    data: str | None = None
    hydra: HydraNode = HydraNode()
    number: int = 0
    start: int = 0
    start_folder: str = ""
    folder: str = ""

    @property
    def stored(self) -> dict[str, Any]:
        """The configuration with the label as ``variant``, as a run stores it."""
        return self.resolved | {"variant": self.label}

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 digests of the user's files and of the data, by role."""
        found = {role: sha for file in self.files for role, sha in file.digests.items()}
        return found if self.data is None else found | {"data": self.data}

    @property
    def key(self) -> Hashable:
        """A key that is equal for jobs with the same computation."""
        return self.config, tuple(sorted(self.digests.items()))

    @functools.cached_property
    def run_id(self) -> str:
        """The run id, which distinguishes the run from all others."""
        return run_id_of(self.resolved, self.digests, numerics=numerics())

    @functools.cached_property
    def lineage(self) -> str:
        """An id shared by all runs that differ only in `steps`."""
        return lineage(self.resolved, self.digests, numerics=numerics())

    @functools.cached_property
    def source(self) -> str:
        """Digest of the code that decides the numbers of the run."""
        kinds = CELLS[self.config.cell], TASKS[self.config.task]
        config = self.config
        every = *kinds, *map(type, (config.optimizer, config.penalty))
        roots = {base.__module__ for kind in every for base in kind.__mro__}
        for file in self.files:
            roots.update(imported(parsed(file.content)))
        return source_digest({*roots, *PROGRAM})

    @functools.cached_property
    def signature(self) -> Signature:
        """Everything on which the compiled program depends."""
        return signature(self.config)

    @functools.cached_property
    def schedule(self) -> Schedule:
        """The steps at which the host evaluates, probes and records the run."""
        return schedule_of(self.config)

    @property
    def pack_key(self) -> Hashable:
        """Equal for runs that may share a pack, and so one compiled program."""
        looks = self.schedule, self.config.eval, self.config.probe, self.start
        data = tuple(sorted(self.digests.items()))
        return self.signature, looks, data, self.source

    def placed(self, **where: Any) -> "Job":
        """The same run with another `start`, `start_folder` or `folder`.

        What has been computed of the job does not depend on them, and is kept.
        """
        made = dataclasses.replace(self, **where)
        names = {field.name for field in dataclasses.fields(self)}
        known = {name: x for name, x in vars(self).items() if name not in names}
        vars(made).update(known)
        return made

    def path(self, pool: Path) -> Path:
        """The run directory in `pool`."""
        if self.folder:
            return pool / self.folder
        return run_path(pool, self.name, self.run_id)


def make_job(
    frame: Frame, entries: Mapping[str, Any], point: Point, number: int
) -> tuple[Job, LaunchSettings]:
    """A job, and the settings of its launch; builds its task and its cell as a test.

    Args:
        frame: what the job shares with others.
        entries: the values of its own, by dotted name.
        point: the point of the sweep, which has these and the choices of groups.
        number: the index of the job.

    Raises:
        UserError: as `Frame.resolve`; a number is out of range, or the cell lacks a
            chosen field.
    """
    tree, settings = frame.resolve(entries)
    task = TASKS[tree["task"]["name"]](**options_of(tree["task"]))
    _settle_cell(tree, task)
    if isinstance(path := tree["task"].get("path"), str):
        # runs may be opened from any folder
        tree["task"]["path"] = os.path.abspath(user_path(path))
    config = run_config(tree)
    _check_cell(config)
    if config.pairs:
        check_twins(type(task))
    files = loaded_files(config.cell, config.task)
    if files:
        tree["paths"] = {file.kind: file.reference for file in files}
    variant = frame.choices["variant"]
    label = _label(config.cell if variant in (None, "none") else variant, point)
    stem = settings.name or f"{label}-{config.task}"
    job = Job(
        config=config,
        resolved=plain(tree),
        overrides=point.overrides(tree.get("paths", {})),
        name=_name(stem, point),
        label=label,
        tracker=TrackerConfig(**tree["tracker"]),
        files=files,
        hydra=frame.hydra,
        number=number,
    )
    return job, settings


def _settle_cell(tree: dict[str, Any], task: Task) -> None:
    """Move the activation, the initialiser and the length into the fields of the cell.

    Then runs that compute the same have the same configuration.
    """
    cell = tree["cell"]
    for key, chosen, field in (
        ("activation", tree["activation"], "activation"),
        ("init", tree["init"]["name"], "recurrent_init"),
    ):
        if chosen is not None and field not in cell:
            fields = ", ".join(options_of(cell)) or "none"
            raise UserError(
                f"{key}={chosen}: cell {cell['name']} has no such field; its fields: "
                f"{fields}"
            )
        if chosen is not None:
            cell[field] = chosen
    tree["activation"] = cell.get("activation")
    if cell.get("chrono") == LENGTH:
        cell["chrono"] = float(task_length(task))


@functools.lru_cache(maxsize=256)
def task_length(task: Task) -> int:
    """Number T of time steps; each new plan clears the cache, as files may change."""
    return task.spec(task.load()).length


def _check_cell(config: RunConfig) -> None:
    """Build the cell; trace its parameters and one step, without computing numbers."""
    kind = CELLS[config.cell]
    model = config.model
    key = (kind, config.cell_options, config.init, model.hidden, model.engine)
    if key in _CHECKED:
        return
    try:
        cell = build_cell(config).clone(parent=None, inputs=1)
        layer = Recurrent(cell, engine=model.engine)
        remembered(lambda: _trace_step(layer), (_trace_step, layer))
    except CellError as error:
        raise UserError(str(error)) from None
    except Exception as error:
        found = explain(error, kind)
        head = "" if found.place else f"cell={config.cell}: "
        raise UserError(f"{head}{found}") from error
    _CHECKED.add(key)


def _trace_step(layer: Recurrent) -> bool:
    """Trace the parameters and one step of a layer; it raises what is wrong with it."""
    examine(layer.cell)
    jax.eval_shape(lambda: layer.init(jax.random.key(0), jnp.zeros((1, 1, 1))))
    return True


_CHECKED: set[Hashable] = set()
"""Cells that this process has already checked."""


def _label(kind: str, point: Point) -> str:
    """The variant or cell, followed by the chosen activation, if any."""
    keys = [key for key in ("activation", "cell.activation") if key in point.values]
    return "-".join([kind, *(as_text(point.values[key]) for key in keys)])


def _name(stem: str, point: Point) -> str:
    """The stem and the values of the varied axes, in characters valid for a folder."""
    shown = {"variant", "cell", "task", "activation", "cell.activation", "experiment"}
    parts = [stem]
    for key in point.varied:
        if key in shown and not isinstance(point.values[key], Mapping):
            continue
        for path, value in leaves({key: point.values[key]}).items():
            parts.append(f"{path.rpartition('.')[2]}={as_text(value)}")
    name = re.sub(r"[^\w.=,+@-]+", "_", "-".join(parts)).strip("_.-")
    return name.encode()[:LONGEST_NAME].decode(errors="ignore") or "run"
