"""``hydra/launcher=packed`` for applications whose task function calls rnnjax.

    @hydra.main(version_base="1.3", config_path=None, config_name="config")
    def main(config):
        run = rnnjax.train(f"cell={config.cell}", f"lr={config.lr}")
        return run.results["test_accuracy"]

All jobs are composed before the first one starts. For each job, the task function is
called and stopped at its first `rnnjax.train`. The runs requested there are trained
together; runs with the same signature share one program. Then the jobs run one after
another as under Hydra's basic launcher, with their directories, logs, ``.hydra/``,
callbacks and results, and `rnnjax.train` returns the run that is already finished.
Therefore code before the first call of `rnnjax.train` runs twice; later calls in the
same job are not packed.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import (
    JobReturn,
    configure_log,
    filter_overrides,
    run_job,
    setup_globals,
)
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


log = logging.getLogger(__name__)


@dataclass
class PackedLauncherConf:
    """No options: the configuration given to `rnnjax.train` decides how to pack."""

    _target_: str = "hydra_plugins.rnnjax_launcher.packed.PackedLauncher"


ConfigStore.instance().store(
    group="hydra/launcher", name="packed", node=PackedLauncherConf, provider="rnnjax"
)


class PackedLauncher(Launcher):
    """Trains the runs that all jobs request together, then runs the jobs in order."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Store the context, task function and configuration from Hydra."""
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs; returns one result per job, in the order of the overrides.

        Raises:
            CompactHydraException: a job requests an invalid run; no job has started.
        """
        setup_globals()
        self._log_as_the_sweep()
        hydra = self.config.hydra
        if hydra.job.chdir:
            raise CompactHydraException(
                "hydra/launcher=packed needs hydra.job.chdir=false"
            )
        Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        configs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.context.config_loader.load_sweep_config(
                self.config, list(overrides)
            )
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            configs.append(config)
        self._train(configs)
        log.info(f"Running {len(configs)} jobs")
        results = []
        for config, overrides in zip(configs, job_overrides, strict=True):
            words = " ".join(filter_overrides(overrides))
            log.info(f"\t#{config.hydra.job.num} : {words}")
            result = run_job(
                hydra_context=self.context,
                task_function=self.function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            results.append(result)
            self._log_as_the_sweep()
        return results

    def _train(self, configs: Sequence[DictConfig]) -> None:
        """Train the runs that the first calls of `rnnjax.train` request, in packs."""
        from rnnjax.errors import UserError
        from rnnjax.sweeps.deferred_training import collect, train_together
        from rnnjax.sweeps.progress import LiveProgress
        from rnnjax.terminal import error_screen

        requests = []
        outer = HydraConfig.instance().cfg
        try:
            for config in configs:
                HydraConfig.instance().set_config(config)
                task = copy.deepcopy(config)
                with open_dict(task):
                    del task["hydra"]
                with collect() as found:
                    self._call(task)
                requests += found
            console = error_screen()
            command = str(self.config.hydra.job.name)
            train_together(requests, command, lambda: LiveProgress(console))
        except UserError as error:
            raise CompactHydraException(str(error)) from None
        finally:
            HydraConfig.instance().cfg = outer

    def _call(self, task: DictConfig) -> None:
        from rnnjax.errors import UserError

        try:
            self.function(task)
        except UserError:
            raise
        except Exception as error:
            # The job will fail again when it runs, without affecting the others.
            log.debug(f"the job failed before it requested a run: {error!r}")

    def _log_as_the_sweep(self) -> None:
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
