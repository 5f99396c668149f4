"""Runs from Python: train one, or open a finished run directory."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import polars as pl
import xarray as xr
from jaxtyping import Array

from rnnjax.devices import use_every_core
from rnnjax.errors import UserError, one_line
from rnnjax.executables.functions import kept_jit
from rnnjax.models.sequence import SequenceModel
from rnnjax.store.manifest import Damaged, Manifest
from rnnjax.store.rundir import BEST, CONFIG, MANIFEST, PARAMS, PARAMS_AT, RunDir
from rnnjax.sweeps.compose import plan
from rnnjax.sweeps.deferred_training import ask
from rnnjax.sweeps.job_data import data_digest
from rnnjax.sweeps.jobs import run_config
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.user_files import KINDS, Copy, copies_of
from rnnjax.tasks.base import TaskSpec
from rnnjax.tasks.inputs import checked_inputs
from rnnjax.training.build import build_model, build_task, initial_params
from rnnjax.training.config import RunConfig


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its configuration, numbers, parameters and model.

    Reading numbers and parameters executes no code from the run. If the cell or task
    comes from a user's file, it is code: `model` and `apply` execute the copy that the
    run keeps, and only if `run_code` allows it.

    Attributes:
        directory: the run directory.
        run_code: whether the run's copy of a user's file may be executed. Even if
            False, it may be executed if the user named a file with the same content
            in this process, as `train` does.
    """

    directory: RunDir
    run_code: bool = False

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @functools.cached_property
    def config(self) -> RunConfig:
        """The configuration of the run.

        A cell or task from a user's file is named ``NAME@digest``. If the run's copy
        of the file may be executed, its class is registered under that name; a
        warning is issued if the user's original file has changed since the run.

        Raises:
            UserError: the copy may be executed but is not the file that the run was
                made with, or ``config.yaml`` is not the configuration of a run.
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
        except Exception as error:  # written by another version or another program
            file = self.path / CONFIG
            message = f"'{file}' is not the configuration of a run: {one_line(error)}"
            raise Damaged(message) from error

    @functools.cached_property
    def _copies(self) -> dict[str, Copy]:
        return copies_of(self.directory)

    @functools.cached_property
    def _refused(self) -> frozenset[str]:
        """The kinds whose copy may not be executed, decided once for this object."""
        copies = {} if self.run_code else self._copies
        return frozenset(kind for kind, copy in copies.items() if not copy.is_named)

    def check_code(self, *kinds: str) -> None:
        """Make sure that the code of the cell and the task may be executed.

        Args:
            kinds: ``cell`` or ``task``; if none are given, both.

        Raises:
            UserError: one of them comes from a file that may not be executed.
        """
        for kind in kinds or KINDS:
            if kind in self._refused:
                raise self._copies[kind].refused()

    @property
    def manifest(self) -> Manifest:
        """Status, versions, seeds and run times.

        Raises:
            Damaged: the manifest does not match the configuration in this directory.
        """
        manifest = self.directory.manifest()
        if manifest.is_finished:
            self.directory.config()  # compared with the digest in the manifest
        return manifest

    @property
    def results(self) -> Mapping[str, Any]:
        """Final results, such as ``test_accuracy``."""
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
        """Final parameters, as a nested dictionary that `flax.linen` accepts.

        Raises:
            UserError: the run learned its initial state, the cell comes from a file
                that may not be executed, and only the cell knows the state's type.
        """
        return self._typed(self._restored(PARAMS, self.directory.params_bytes()))

    @functools.cached_property
    def best_params(self) -> Any:
        """Parameters at the best validation metric; of equal ones, the earliest.

        ``results["best_step"]`` holds the step. If the run was never evaluated, these
        are the final parameters.
        """
        if not self.directory.has(BEST):
            return self.params
        return self._typed(self._restored(BEST, self.directory.best_params_bytes()))

    def params_at(self, step: int | None = None) -> Any:
        """Parameters after `step` updates, which must be a probed step; None: final.

        Raises:
            UserError: no parameters were stored for this step.
        """
        if step is None or step == self.manifest.steps:
            return self.params
        kept = self._restored(PARAMS_AT, self.directory.params_at_bytes())
        if str(step) not in kept:
            known = ", ".join(sorted(kept, key=int))
            raise UserError(f"step={step} was not stored; stored steps: {known}")
        return self._typed(kept[str(step)])

    def _restored(self, name: str, stored: bytes) -> dict[str, Any]:
        """The parameter tree stored in the file `name`.

        Raises:
            Damaged: the content matches the manifest but cannot be decoded.
        """
        try:
            tree = flax.serialization.msgpack_restore(stored)
            if not isinstance(tree, dict):
                raise TypeError("it is not a mapping")
            return tree
        except Exception as error:  # msgpack and NumPy raise many types
            message = f"'{self.path / name}' cannot be read: {one_line(error)}"
            raise Damaged(message) from error

    def _typed(self, tree: Any) -> Any:
        """Parameters whose learned initial states have the type that the cell uses."""
        if not self.directory.config()["model"]["learn_initial_state"]:
            return tree
        self.check_code("cell")
        like = initial_params(self.config, self.spec)
        return flax.serialization.from_state_dict(like, tree)

    @functools.cached_property
    def spec(self) -> TaskSpec:
        """Sizes, loss and metric of the task, as the run recorded them."""
        try:
            return TaskSpec(**self.manifest.task)
        except TypeError as error:
            message = (
                f"'{self.path / MANIFEST}' does not describe a task: {one_line(error)}"
            )
            raise Damaged(message) from error

    @functools.cached_property
    def model(self) -> SequenceModel:
        """The model, ready for ``model.apply({"params": run.params}, …)``.

        Building it needs no data, because the run recorded all sizes.

        Raises:
            UserError: the cell comes from a file that may not be executed.
        """
        self.check_code("cell")
        return build_model(self.config, self.spec)

    def check_data(self) -> None:
        """Make sure that the task still yields the data that the run was trained on.

        Raises:
            UserError: the data cannot be read or has changed, or the task comes from a
                file that may not be executed.
        """
        self.check_code("task")
        _, data = build_task(self.config.task, self.config.task_options)
        known = self.manifest.digests.get("data")
        if data_digest(data) != known:
            path = dict(self.config.task_options).get("path")
            where = f" in '{path}'" if path else ""
            raise UserError(
                f"the data of task {self.config.task}{where} is not what the run "
                f"'{self.path}' was trained on; restore that data, or train again"
            )

    def apply(self, inputs: Any, lengths: Any = None) -> Array:
        """The outputs of the trained model.

        Args:
            inputs: tokens ``(T, B)`` or vectors ``(T, B, m)``, time first.
            lengths: number of valid steps of each example ``(B,)``; None: all valid.

        Returns:
            ``(B, q)`` for a readout at the last step, else ``(T, B, q)``.

        Raises:
            UserError: inputs or lengths do not fit the task, such as a token outside of
                the vocabulary (see `rnnjax.tasks.inputs`); or the cell comes from a
                file that may not be executed.
        """
        return _apply(
            self.model, self.params, *checked_inputs(self.spec, inputs, lengths)
        )


@functools.partial(kept_jit, static_argnames=("model",))
def _apply(model: SequenceModel, params: Any, inputs: Array, lengths: Any) -> Array:
    return model.apply({"params": params}, inputs, lengths)  # pyright: ignore[reportReturnType]


def train(*overrides: str, out: str | Path | None = None) -> Run:
    """Train one run, or return the finished run if the pool already holds it.

    Args:
        overrides: as on the command line, ``"cell=lstm", "task=adding", "steps=500"``.
        out: the pool of run directories; None: the value of ``out=…`` in the
            overrides, by default ``runs``.

    Raises:
        UserError: the configuration is invalid, or the run failed.
    """
    for override in overrides:
        if not isinstance(override, str):
            raise UserError(
                f"an override is a string such as 'lr=0.1', not {override!r}"
            )
    use_every_core()
    made = plan(overrides)
    if made.settings.dry_run:
        raise UserError("dry_run works only on the command line, not in rnnjax.train")
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
        path: the run directory.
        run_code: whether the directory's copy of a cell or task may be executed.
            Such a copy can do anything, so allow it only if you trust its author.
    """
    return Run(RunDir(Path(path).absolute()), run_code)
