"""The W&B copies that the jobs of a launch request; a failed copy fails no run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnjax.counting import count
from rnnjax.errors import one_line
from rnnjax.store.index import Row
from rnnjax.store.leases import Leases
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import RunDir
from rnnjax.store.wandb_mirror import Unreachable, copies_in, mirror
from rnnjax.store.wandb_target import place
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.settings import TrackerConfig


class Copies:
    """Makes copies and collects problems, so that each is reported only once.

    Attributes:
        failed: the reason for each run that could not be copied, by path.
        disabled_by: the environment variable that disables copies, ``NAME=value``.
    """

    def __init__(self) -> None:
        self.failed: dict[Path, str] = {}
        self.disabled_by: str | None = None
        self._unreachable = ""
        self._known: dict[Path, dict[str, list[Path]]] = {}

    def add(self, run: RunDir, tracker: TrackerConfig, group: str) -> Path | None:
        """Copy a finished run, if a copy is requested and does not exist yet.

        Once W&B could not be reached, no further copies are tried.

        Returns:
            The folder that contains W&B's folder if this call made a copy, else None.
        """
        if tracker.name != "wandb" or run.path in self.failed:
            return None
        if self._unreachable:
            self.failed[run.path] = self._unreachable
            return None
        try:
            to = place(run.path.parent, tracker.mode, tracker.project, group)
            if to.mode == "disabled":
                self.disabled_by = to.disabled_by
                return None
            if to.root not in self._known:
                self._known[to.root] = copies_in(to.root)
            known, run_id = self._known[to.root], run.manifest().run_id
            older = known.get(run_id, [])
            if made := mirror(run, to, older):
                known[run_id] = [made, *filter(Path.exists, older)]
                return to.root
        except Unreachable as error:
            self._unreachable = self.failed[run.path] = str(error)
        except Exception as error:
            self.failed[run.path] = one_line(error)
        return None

    def complete(
        self,
        pool: Pool,
        jobs: Sequence[Job],
        rows: Mapping[str, Row],
        group: str,
        told: Progress,
    ) -> None:
        """Copy all runs that are finished and have no copy yet; report problems.

        Runs that another process is working on are left to that process.
        """
        asked = [one for one in jobs if one.tracker.name == "wandb"]
        later: list[Path] = []
        if not asked:
            return
        with Leases(pool.path) as leases:
            for one in asked:
                row = rows.get(one.run_id)
                if row is None or not row.is_finished or not leases.take(one.run_id):
                    continue
                run = RunDir(pool.path / row.folder)
                root = self.add(run, one.tracker, group)
                later += [root] if root else []
                leases.release(one.run_id)
        if later:
            things = count(len(later), "finished run")
            told.say(f"copied {things} to W&B, in '{later[0]}/wandb'")
        if self.disabled_by:
            told.say(f"no W&B copies: {self.disabled_by}")
        if self.failed:
            path, reason = next(iter(self.failed.items()))
            others = len(self.failed) - 1
            more = f" and {others} more" if others else ""
            told.warn(f"no W&B copy of '{path}'{more}: {reason}")
