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
import sys
from collections.abc import Mapping, Sequence
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
from rnnjax.user_code import note_user_code


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
    if callbacks:
        note_user_code()
    if callbacks and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name, node in callbacks.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise UserError(f"{KEY}.{name} needs a _target_, the class to call")
        where = f"{KEY}.{name}._target_={node['_target_']}"
        module, _, target = str(node["_target_"]).rpartition(".")
        if not module:
            raise UserError(f"{where} must include the module, as in my.Callback")
        try:
            found = vars(importlib.import_module(module))
        except Exception as reason:
            raise UserError(f"{where}: {one_line(reason)}") from None
        if target not in found:
            kinds = [key for key, thing in found.items() if isinstance(thing, type)]
            raise unknown(f"callback in {module}", target, kinds)


class HydraCallbacks:
    """The callbacks of one command, as configured in Hydra's node of any of its jobs.

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

    def begin(self, jobs: Sequence[Job], path: Path) -> None:
        """Notify callbacks that jobs begin, the first of them in this directory."""
        if not self.callbacks.callbacks:
            return
        self._jobs = jobs
        if self.node.multirun:
            self.config = _config(jobs[0], self.node.of_pool(path.parent))
            self._call("on_multirun_start", self.config, config_name="config")
        else:
            self.config = _config_of(jobs[0], path)
            self._call("on_run_start", self.config, config_name="config")
            self._call("on_job_start", self.config, task_function=outcome)

    def end(self, paths: Sequence[Path]) -> None:
        """Notify callbacks that the jobs given to `begin` have all ended."""
        for job, path in zip(self._jobs, paths, strict=False):
            config = self.config
            if self.node.multirun:
                config = _config_of(job, path)
                self._call("on_job_start", config, task_function=outcome)
            self.returned = _returned(config, job.overrides)
            self._call("on_job_end", config, job_return=self.returned)

    def close(self) -> None:
        """Notify callbacks that the command has finished."""
        named: dict[str, Any] = {"config_name": "config"}
        if self._jobs and self.node.multirun:
            self._call("on_multirun_end", self.config, **named)
        elif self._jobs:
            self._call("on_run_end", self.config, job_return=self.returned, **named)

    def _call(self, event: str, config: DictConfig, **named: Any) -> None:
        """Call callbacks, which see this configuration in `HydraConfig`."""
        instance: Any = HydraConfig.instance()
        outer, instance.cfg = instance.cfg, config
        try:
            getattr(self.callbacks, event)(config, **named)
        finally:
            instance.cfg = outer


def outcome(config: DictConfig) -> dict[str, Any]:
    """The results of a job, which Hydra expects its task function to return.

    Raises:
        UserError: the run failed.
    """
    manifest = RunDir(Path(config.hydra.runtime.output_dir)).manifest()
    if not manifest.is_finished:
        raise UserError(f"the run failed: {manifest.error or manifest.status}")
    return dict(manifest.results)


def _config_of(job: Job, path: Path) -> DictConfig:
    return _config(job, job.hydra.of(job.number, job.overrides, path))


def _config(job: Job, node: dict[str, Any]) -> DictConfig:
    config = OmegaConf.create({**job.stored, "hydra": node})
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
