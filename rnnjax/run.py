"""Runs from Python: train one, or open what a run left behind."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import polars as pl
import xarray as xr
from jaxtyping import Array

from rnnjax.devices import use_every_core
from rnnjax.errors import UserError, one_line
from rnnjax.models.sequence import SequenceModel
from rnnjax.store.manifest import Damaged, Manifest
from rnnjax.store.rundir import BEST, CONFIG, MANIFEST, PARAMS, PARAMS_AT, RunDir
from rnnjax.sweeps.compose import plan
from rnnjax.sweeps.deferred_training import ask
from rnnjax.sweeps.job_data import data_digest
from rnnjax.sweeps.jobs import run_config
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.user_copies import Copy, copies_of
from rnnjax.sweeps.user_files import KINDS
from rnnjax.tasks.base import TaskSpec
from rnnjax.tasks.inputs import checked_inputs
from rnnjax.training.build import build_model, build_task, initial_params
from rnnjax.training.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its configuration, numbers, parameters and model.

    Numbers and parameters are read without executing anything. A cell or task from a
    file of the user's is code: `model` and `apply` use the copy that the run keeps of
    it, if `run_code` allows it.

    Attributes:
        directory: where it lies.
        run_code: whether that copy may be executed. It may without, if the user named
            a file of the same content in this process, as `train` does.
    """

    directory: RunDir
    run_code: bool = False

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @functools.cached_property
    def config(self) -> RunConfig:
        """What was run.

        A cell or task from a file of the user's has the name ``NAME@digest``. That of
        the copy in the run is registered under it, if it may be executed; a warning
        says so if the file has changed since.

        Raises:
            UserError: the copy may be executed and is not what the run was made with,
                or there is no configuration of a run.
        """
        tree = self.directory.config()
        copies = self._copies
        for kind, copy in copies.items():
            if kind not in self._refused:
                copy.use()
        try:
            for kind, copy in copies.items():
                tree[kind]["name"] = copy.known_as
            return run_config(tree)
        except UserError:
            raise
        except Exception as error:  # of another version, or of another's making
            file = self.path / CONFIG
            message = f"'{file}' is no configuration of a run: {one_line(error)}"
            raise Damaged(message) from error

    @functools.cached_property
    def _copies(self) -> dict[str, Copy]:
        return copies_of(self.directory)

    @functools.cached_property
    def _refused(self) -> frozenset[str]:
        """The kinds whose copy may not be executed, settled once for this object."""
        copies = {} if self.run_code else self._copies
        return frozenset(kind for kind, copy in copies.items() if not copy.is_named)

    def check_code(self, *kinds: str) -> None:
        """Make sure that what builds the model and makes the data may be executed.

        Args:
            kinds: ``cell``, ``task``; none: both.

        Raises:
            UserError: one of them is of a file, and nobody allowed to execute that.
        """
        for kind in kinds or KINDS:
            if kind in self._refused:
                raise self._copies[kind].refused()

    @property
    def manifest(self) -> Manifest:
        """Status, versions, seeds, seconds.

        Raises:
            Damaged: it is not that of this directory's configuration.
        """
        manifest = self.directory.manifest()
        if manifest.is_finished:
            self.directory.config()  # compared with the digest in the manifest
        return manifest

    @property
    def results(self) -> Mapping[str, Any]:
        """Final numbers, such as ``test_metric``."""
        return self.manifest.results

    @property
    def metrics(self) -> pl.DataFrame:
        """One row per recorded step."""
        return self.directory.metrics()

    @property
    def probes(self) -> xr.Dataset:
        """Gradient flow at the probed steps."""
        return self.directory.probes()

    @functools.cached_property
    def params(self) -> Any:
        """Final parameters, a nested dictionary as `flax.linen` uses them.

        Raises:
            UserError: its cell is of a file and learned its first state, whose type the
                cell alone knows, and the file may not be executed.
        """
        return self._typed(self._restored(PARAMS, self.directory.params_bytes()))

    @functools.cached_property
    def best_params(self) -> Any:
        """Parameters of the best validation metric, the earliest of equals.

        ``results["best_step"]`` says where; without an evaluation the final ones.
        """
        if not self.directory.has(BEST):
            return self.params
        return self._typed(self._restored(BEST, self.directory.best_params_bytes()))

    def params_at(self, step: int | None = None) -> Any:
        """Parameters after `step` updates, one of the probed steps; None: the final.

        Raises:
            UserError: they were not stored.
        """
        if step is None or step == self.manifest.steps:
            return self.params
        kept = self._restored(PARAMS_AT, self.directory.params_at_bytes())
        if str(step) not in kept:
            known = ", ".join(sorted(kept, key=int))
            raise UserError(f"step={step} was not stored; there are {known}")
        return self._typed(kept[str(step)])

    def _restored(self, name: str, stored: bytes) -> dict[str, Any]:
        """The tree in the content of one of the files.

        Raises:
            Damaged: there is none, though the content is what the run left.
        """
        try:
            tree = flax.serialization.msgpack_restore(stored)
            if not isinstance(tree, dict):
                raise TypeError("it is not a mapping")
            return tree
        except Exception as error:  # of msgpack and NumPy, which raise many kinds
            message = f"'{self.path / name}' cannot be read: {one_line(error)}"
            raise Damaged(message) from error

    def _typed(self, tree: Any) -> Any:
        """Parameters with learned first states of the types that their cells have."""
        if not self.directory.config()["model"]["learn_initial_state"]:
            return tree
        self.check_code("cell")
        like = initial_params(self.config, self.spec)
        return flax.serialization.from_state_dict(like, tree)

    @functools.cached_property
    def spec(self) -> TaskSpec:
        """Sizes, loss and metric of its task, as the run recorded them."""
        try:
            return TaskSpec(**self.manifest.task)
        except TypeError as error:
            message = f"'{self.path / MANIFEST}' knows no task: {one_line(error)}"
            raise Damaged(message) from error

    @functools.cached_property
    def model(self) -> SequenceModel:
        """The model, ready for ``model.apply({"params": run.params}, …)``.

        It needs no data: sizes are those that the run recorded.

        Raises:
            UserError: its cell is of a file that may not be executed.
        """
        self.check_code("cell")
        return build_model(self.config, self.spec)

    def check_data(self) -> None:
        """Make sure that the data of its task is what the run was trained on.

        Raises:
            UserError: it cannot be read, it is other data, or the task is of a file
                that may not be executed.
        """
        self.check_code("task")
        _, data = build_task(self.config.task, self.config.task_options)
        known = self.manifest.digests.get("data")
        if (data_digest(data) if data else None) != known:
            path = dict(self.config.task_options).get("path")
            where = f" in '{path}'" if path else ""
            raise UserError(
                f"the data of task {self.config.task}{where} is not what the run "
                f"'{self.path}' was trained on; put that back, or train again"
            )

    def apply(self, inputs: Any, lengths: Any = None) -> Array:
        """Answers of the trained model.

        Args:
            inputs: tokens ``(T, B)`` or vectors ``(T, B, m)``, time first.
            lengths: valid steps of each example ``(B,)``; None: all.

        Returns:
            ``(B, q)`` for a readout at the last step, else ``(T, B, q)``.

        Raises:
            UserError: inputs or lengths that do not fit the task, such as a token that
                the vocabulary lacks (see `rnnjax.tasks.inputs`); or its cell is of a
                file that may not be executed.
        """
        return _apply(
            self.model, self.params, *checked_inputs(self.spec, inputs, lengths)
        )


@functools.partial(jax.jit, static_argnums=0)
def _apply(model: SequenceModel, params: Any, inputs: Array, lengths: Any) -> Array:
    return model.apply({"params": params}, inputs, lengths)  # pyright: ignore[reportReturnType]


def train(*overrides: str, out: str | Path | None = None) -> Run:
    """Train one run, or find it finished in the pool.

    Args:
        overrides: as on the command line, ``"cell=lstm", "task=adding", "steps=500"``.
        out: the pool of run directories; None: that of ``out=…`` among the overrides,
            by default ``runs``.

    Raises:
        UserError: anything wrong with the configuration, or the run failed.
    """
    for override in overrides:
        if not isinstance(override, str):
            raise UserError(f"an override is a text such as 'lr=0.1', not {override!r}")
    use_every_core()
    made = plan(overrides)
    if made.settings.dry_run:
        raise UserError("dry_run is for the command line; rnnjax.train trains")
    settings = made.settings
    if out is not None:
        settings = dataclasses.replace(settings, out=str(out))
    ask(made.jobs[0], settings)
    result = launch(made.jobs, settings)
    run = open_run(result.runs[0].path)
    if run.manifest.status == "failed":
        raise UserError(f"the run failed: {run.manifest.error}")
    return run


def open_run(path: str | Path, *, run_code: bool = False) -> Run:
    """The run in a directory.

    Args:
        path: of the run directory.
        run_code: whether the copy of a cell or task that the directory holds may be
            executed: what it is asked for then is up to whoever wrote it.
    """
    return Run(RunDir(Path(path).absolute()), run_code)
