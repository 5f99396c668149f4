"""A sweep, read once: what every figure, table and sentence is made from."""

import dataclasses
import warnings
from pathlib import Path

import polars as pl

from rnnjax import results
from rnnjax.paths import user_path
from rnnjax.report.flow import KEYS, Flow, read_flow
from rnnjax.report.provenance import sweep_record
from rnnjax.report.runs import Runs, tidy
from rnnjax.report.style import Palette, palette
from rnnjax.results import Results
from rnnjax.store.quarantine import damage
from rnnjax.store.rundir import METRICS, RunDir
from rnnjax.store.sweep_record import SweepRecord


METRIC_COLUMNS = ("step", "loss", "validation_metric")


@dataclasses.dataclass(frozen=True)
class Study:
    """What a sweep left.

    Attributes:
        folder: of the sweep.
        record: None for a pool or a single run.
        results: as `rnnjax.results.load` gives them.
        runs: one tidy row per run.
        flow: gradients.
        palette: one fixed colour per variant.
    """

    folder: Path
    record: SweepRecord | None
    results: Results
    runs: Runs
    flow: Flow
    palette: Palette

    def metrics(self) -> pl.DataFrame:
        """Training curves of all finished runs, with the keys of the other tables."""
        kept = [*KEYS, "status", "baseline"]
        schema = {key: self.runs.frame.schema[key] for key in kept}
        numbers = dict(
            zip(METRIC_COLUMNS, (pl.Int64, pl.Float64, pl.Float64), strict=True)
        )
        frames = [pl.DataFrame(schema=schema | numbers)]
        for row in self.runs.frame.iter_rows(named=True):
            run = RunDir(Path(row["path"]))
            if row["status"] not in ("done", "diverged") or not run.has(METRICS):
                continue
            table = run.metrics()
            frames.append(
                table.select(
                    *(pl.lit(row[key], schema[key]).alias(key) for key in kept),
                    *(
                        (pl.col(name) if name in table.columns else pl.lit(None))
                        .cast(kind)
                        .alias(name)
                        for name, kind in numbers.items()
                    ),
                )
            )
        return pl.concat(frames)


def read_study(folder: str | Path) -> Study:
    """Read a sweep folder, a pool of runs, or a single run directory.

    Raises:
        UserError: the folder holds none of them.
    """
    folder = user_path(folder, f"'{folder}' is no folder").resolve()
    found = results.load(folder)
    record = sweep_record(folder)
    runs = _readable(tidy(found, record.groups if record else None))
    flow = read_flow(runs.frame)
    return Study(folder, record, found, runs, flow, palette(runs.variants))


def _readable(runs: Runs) -> Runs:
    """The runs without those whose record is damaged; each is named in a warning."""
    lost = []
    for path in runs.frame["path"]:
        if why := damage(RunDir(Path(path))):
            warnings.warn(f"left out of the report: {why}", stacklevel=3)
            lost.append(path)
    return dataclasses.replace(
        runs, frame=runs.frame.filter(~pl.col("path").is_in(lost))
    )
