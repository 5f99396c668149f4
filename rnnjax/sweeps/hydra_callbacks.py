"""Hydra's callbacks around a launch: ``+hydra.callbacks.mine._target_=my.Callback``.

Hydra calls them at the start and end of each job. The jobs of a pack train at the same
time, but a callback may store something at the start of a job and use it at the end, as
Hydra's `PickleJobInfoCallback` does. Therefore, in a sweep the callbacks are called
after all jobs have ended, as one start/end pair per job, in the order of the jobs,
including jobs whose runs the pool already held. ``hydra/launcher=packed`` does the same
in an application. For a single run, callbacks are called before and after training.
"""

import importlib
import os
import pydoc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnjax.errors import UserError, one_line, unknown
from rnnjax.store.rundir import RunDir
from rnnjax.sweeps.hydra_node import HydraNode
from rnnjax.sweeps.hydra_session import sentence
from rnnjax.sweeps.jobs import Job


KEY = "hydra.callbacks"


def split_words(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides that set callbacks, and all others."""
    starts = (KEY, KEY.replace(".", "/"))
    ours = [word for word in overrides if word.lstrip("+~").startswith(starts)]
    return ours, [word for word in overrides if word not in ours]


def check_callbacks(callbacks: Mapping[str, Any]) -> None:
    """Import the classes of the callbacks; the current folder is searched, too.

    Raises:
        UserError: a callback has no ``_target_``, or it cannot be imported.
    """
    if callbacks and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name, node in callbacks.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise UserError(f"{KEY}.{name} needs a _target_, the class to call")
        target = str(node["_target_"])
        try:
            found = pydoc.locate(target)
        except pydoc.ErrorDuringImport:
            found = None
        if found is None:
            raise _absent(f"{KEY}.{name}._target_={target}", target)


def _absent(where: str, target: str) -> UserError:
    module, _, name = target.rpartition(".")
    if not module:
        return UserError(f"{where} must include the module, as in my.Callback")
    try:
        found = vars(importlib.import_module(module))
    except Exception as reason:
        return UserError(f"{where}: {one_line(reason)}")
    kinds = [key for key, thing in found.items() if isinstance(thing, type)]
    return unknown(f"callback in {module}", name, kinds)


class HydraCallbacks:
    """The callbacks of one command, as configured in Hydra's node of its jobs.

    Args:
        node: the node of any of the jobs.

    Raises:
        UserError: a callback cannot be created.
    """

    def __init__(self, node: HydraNode) -> None:
        self.node = node
        self._jobs: Sequence[Job] = ()
        known = {"hydra": {"callbacks": dict(node.callbacks)}}
        try:
            self.callbacks = Callbacks(OmegaConf.create(known))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"{KEY}: {sentence(error)}") from None

    def begin(self, jobs: Sequence[Job], paths: Sequence[Path]) -> None:
        """Notify callbacks that a launch begins; its jobs have already been checked.

        Args:
            jobs: all runs of the launch.
            paths: the present or future run directories, all in one pool.
        """
        if not self.callbacks.callbacks:
            return
        self._jobs = jobs
        if self.node.multirun:
            node = self.node.of_pool(paths[0].parent)
            self.config = _struct({**jobs[0].stored, "hydra": node})
            with _known(self.config):
                self.callbacks.on_multirun_start(self.config, config_name="config")
            return
        self.config = _config(jobs[0], paths[0])
        with _known(self.config):
            self.callbacks.on_run_start(self.config, config_name="config")
            self.callbacks.on_job_start(self.config, task_function=outcome)

    def end(self, paths: Sequence[Path]) -> None:
        """Notify callbacks of the jobs, all of which have ended.

        Args:
            paths: the run directories, in the order of the jobs given to `begin`.
        """
        for jobs, path in zip(self._jobs, paths, strict=False):
            config = _config(jobs, path) if self.node.multirun else self.config
            with _known(config):
                if self.node.multirun:
                    self.callbacks.on_job_start(config, task_function=outcome)
                self.returned = _returned(config, jobs.overrides)
                self.callbacks.on_job_end(config, job_return=self.returned)

    def close(self) -> None:
        """Notify callbacks that the command has finished."""
        if not self._jobs:
            return
        with _known(self.config):
            named: dict[str, Any] = {"config_name": "config"}
            if self.node.multirun:
                self.callbacks.on_multirun_end(self.config, **named)
            else:
                named["job_return"] = self.returned
                self.callbacks.on_run_end(self.config, **named)


def outcome(config: DictConfig) -> dict[str, Any]:
    """The results of Hydra's current job, which its task function returns.

    Raises:
        UserError: the run failed.
    """
    manifest = RunDir(Path(HydraConfig.get().runtime.output_dir)).manifest()
    if not manifest.is_finished:
        reason = manifest.error or manifest.status
        raise UserError(f"the run failed: {reason}")
    return dict(manifest.results)


def _config(job: Job, path: Path) -> DictConfig:
    node = job.hydra.of(job.number, job.overrides, path)
    return _struct({**job.stored, "hydra": node})


def _struct(tree: dict[str, Any]) -> DictConfig:
    config = OmegaConf.create(tree)
    OmegaConf.set_struct(config, True)
    return config


def _returned(config: DictConfig, overrides: Sequence[str]) -> JobReturn:
    """The result of a job, as `hydra.core.utils.run_job` would make it.

    That function would take 70 ms per job only to write its files.
    """
    names: list[Any] = [name for name in config if name != "hydra"]
    made = JobReturn(
        overrides=list(overrides),
        cfg=OmegaConf.masked_copy(config, names),
        hydra_cfg=OmegaConf.masked_copy(config, "hydra"),
        working_dir=os.getcwd(),
        task_name=config.hydra.job.name,
    )
    try:
        made.return_value, made.status = outcome(config), JobStatus.COMPLETED
    except UserError as error:
        made.return_value, made.status = error, JobStatus.FAILED
    return made


@contextmanager
def _known(config: DictConfig) -> Iterator[None]:
    """Let callbacks see this configuration in `HydraConfig`, then restore the outer."""
    instance: Any = HydraConfig.instance()
    outer, instance.cfg = instance.cfg, config
    try:
        yield
    finally:
        instance.cfg = outer
