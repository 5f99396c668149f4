"""Hydra's callbacks around a launch: ``+hydra.callbacks.mine._target_=my.Callback``.

Hydra calls them around each job. Jobs of a pack train together, and a callback may keep
something from the start of a job to its end, as Hydra's `PickleJobInfoCallback` does:
so the jobs of a sweep are told in pairs, in their order, once all have ended, finished
ones of the pool among them. ``hydra/launcher=packed`` gives an application the same.
A run that is alone is told of before and after it trains.
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
    """The overrides that speak of callbacks, and the others."""
    starts = (KEY, KEY.replace(".", "/"))
    ours = [word for word in overrides if word.lstrip("+~").startswith(starts)]
    return ours, [word for word in overrides if word not in ours]


def check_callbacks(callbacks: Mapping[str, Any]) -> None:
    """Import what they name; the present folder is looked at, too.

    Raises:
        UserError: one has no ``_target_``, or there is no such thing.
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
        return UserError(f"{where} needs its module, as in my.Callback")
    try:
        found = vars(importlib.import_module(module))
    except Exception as reason:
        return UserError(f"{where}: {one_line(reason)}")
    kinds = [key for key, thing in found.items() if isinstance(thing, type)]
    return unknown(f"callback in {module}", name, kinds)


class HydraCallbacks:
    """The callbacks of one command, made from what its jobs say of Hydra.

    Args:
        node: of any of the jobs.

    Raises:
        UserError: one of them cannot be made.
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
        """Tell that a launch begins; nothing can go wrong with its jobs any more.

        Args:
            jobs: all runs of the launch.
            paths: where they are or will be, in one pool.
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
        """Tell of the jobs, which have ended all; `paths` as of `begin`, by now."""
        for jobs, path in zip(self._jobs, paths, strict=False):
            config = _config(jobs, path) if self.node.multirun else self.config
            with _known(config):
                if self.node.multirun:
                    self.callbacks.on_job_start(config, task_function=outcome)
                self.returned = _returned(config, jobs.overrides)
                self.callbacks.on_job_end(config, job_return=self.returned)

    def close(self) -> None:
        """Tell that the command has done all it does."""
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
    """The final numbers of the job that Hydra is at: what its task function returns.

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
    """As `hydra.core.utils.run_job` makes it, which takes 70 ms for its files alone."""
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
    """What callbacks may ask `HydraConfig` for; an application around gets its own."""
    instance: Any = HydraConfig.instance()
    outer, instance.cfg = instance.cfg, config
    try:
        yield
    finally:
        instance.cfg = outer
