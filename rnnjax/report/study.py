"""A sweep, read once: what every figure, table and sentence is made from."""

import dataclasses
import warnings
from pathlib import Path

import polars as pl

from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.report.flow import KEYS, Flow, read_flow
from rnnjax.report.runs import Runs, read_runs
from rnnjax.report.style import Palette, palette
from rnnjax.store.manifest import FINISHED
from rnnjax.store.quarantine import damage
from rnnjax.store.rundir import METRICS, RunDir
from rnnjax.store.sweep_record import SweepRecord


NUMBERS = {"step": pl.Int64, "loss": pl.Float64}


@dataclasses.dataclass(frozen=True)
class Study:
    """What a sweep left.

    Attributes:
        folder: the folder of the sweep.
        record: None for a pool or a single run.
        runs: one tidy row per run.
        flow: gradients.
        palette: one fixed colour per variant.
        lost: what is wrong with each run that is left out.
    """

    folder: Path
    record: SweepRecord | None
    runs: Runs
    flow: Flow
    palette: Palette
    lost: tuple[str, ...] = ()

    def metrics(self) -> pl.DataFrame:
        """Training curves of all finished runs, with the keys of the other tables."""
        kept = [*KEYS, "status", "baseline"]
        schema = {key: self.runs.frame.schema[key] for key in kept}
        scores = {f"validation_{name}": pl.Float64 for name in self.runs.metrics}
        numbers = NUMBERS | scores
        frames = [pl.DataFrame(schema=schema | numbers)]
        for row in self.runs.frame.iter_rows(named=True):
            run = RunDir(Path(row["path"]))
            if row["status"] not in FINISHED or not run.has(METRICS):
                continue
            table = run.metrics()
            there = [name for name in numbers if name in table.columns]
            frames.append(
                table.select(
                    *(pl.lit(row[key], schema[key]).alias(key) for key in kept),
                    *(pl.col(name).cast(numbers[name]) for name in there),
                )
            )
        return pl.concat(frames, how="diagonal")


def read_study(folder: str | Path) -> Study:
    """Read a sweep folder, a pool of runs, or a single run directory.

    Raises:
        UserError: the folder holds none of them, or no run that is whole.
    """
    folder = user_path(folder, f"'{folder}' is no folder").resolve()
    record, runs = read_runs(folder)
    lost = _damaged(runs)
    for why in lost.values():
        warnings.warn(f"left out of the report: {why}", stacklevel=2)
    whole = runs.frame.filter(~pl.col("path").is_in(list(lost)))
    if lost and whole.is_empty():
        raise UserError(f"no run is whole; {next(iter(lost.values()))}")
    runs, colours = dataclasses.replace(runs, frame=whole), palette(runs.variants)
    reasons = tuple(lost.values())
    return Study(folder, record, runs, read_flow(whole), colours, reasons)


def _damaged(runs: Runs) -> dict[str, str]:
    """What is wrong with each run that lacks a file or has a changed one, by path."""
    ended = runs.frame["status"].is_in(list(FINISHED))
    found = {
        path: damage(RunDir(Path(path)), finished)
        for path, finished in zip(runs.frame["path"], ended, strict=True)
    }
    return {path: why for path, why in found.items() if why}
