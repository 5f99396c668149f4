"""Read finished runs: tables of runs, metrics and gradient probes."""

import dataclasses
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl
import xarray as xr

from rnnjax.errors import UserError, unknown
from rnnjax.paths import user_path
from rnnjax.store import aggregate
from rnnjax.store.index import INDEX, row_of
from rnnjax.store.joined import join_probes
from rnnjax.store.manifest import FINISHED, Damaged
from rnnjax.store.names import column, quoted, unknown_column
from rnnjax.store.pool import Pool
from rnnjax.store.run_id import COSMETIC
from rnnjax.store.rundir import MANIFEST, METRICS, PROBES, RunDir
from rnnjax.store.sweep_record import SWEEP, read_sweep
from rnnjax.store.table import table_of


T = TypeVar("T")


def load(path: str | Path) -> "Results":
    """Results of a sweep folder, a pool of runs, or a single run directory.

    Raises:
        UserError: the folder is none of these.
    """
    folder = user_path(path, f"'{path}' is not a folder").resolve()
    if not folder.is_dir():
        raise UserError(f"there is no folder '{path}'")
    pool = Pool(folder)
    if (folder / SWEEP).is_file():
        record = read_sweep(folder)
        pool = Pool(record.pool)
        known = {row.run_id: row for row in pool.rows()}
        rows = [known[run_id] for run_id in record.runs if run_id in known]
        if lost := len(record.runs) - len(rows):
            warnings.warn(
                f"the pool '{pool.path}' lacks {lost} of the {len(record.runs)} runs "
                f"of the sweep '{path}'",
                stacklevel=2,
            )
    elif (folder / MANIFEST).is_file():
        pool = Pool(folder.parent)
        rows = [row_of(RunDir(folder))]
    else:
        rows = pool.rows()
        if not rows and not (folder / INDEX).is_file():
            raise UserError(f"'{path}' is not a sweep, a pool of runs or a run")
    table = table_of(rows, pool.path)
    return Results(table.frame, table.config, table.results)


@dataclass(frozen=True)
class Results:
    """A set of runs and their results.

    Attributes:
        runs: one row per run: run_id, name, status, path, …, the
            configuration with dotted names (``cell.name``), and the final results.
        config_columns: the columns of `runs` that hold the configuration.
        result_columns: the columns of `runs` that hold final results.
    """

    runs: pl.DataFrame
    config_columns: tuple[str, ...]
    result_columns: tuple[str, ...] = ()

    def column(self, name: str) -> str:
        """The column that a short name such as ``cell`` means (`rnnjax.store.names`).

        Raises:
            UserError: the name matches no column, or several.
        """
        return column(name, self.runs.columns)

    def select(self, where: pl.Expr | str) -> "Results":
        """The runs for which a condition holds.

        Args:
            where: a polars expression, or an SQL condition; in SQL, short names of
                columns work and need no quotes: ``cell = 'lstm' and seed < 3``.

        Raises:
            UserError: the condition cannot be parsed, or names an unknown column.
        """
        try:
            text = isinstance(where, str)
            chosen = pl.sql_expr(quoted(where, self.runs.columns)) if text else where
            return dataclasses.replace(self, runs=self.runs.filter(chosen))
        except pl.exceptions.ColumnNotFoundError as error:
            names = re.findall(r'unable to find column "(.+?)"', str(error))
            name = names[0] if names else str(where)
            raise unknown_column(name, self.runs.columns) from None
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot select '{where}': {reason}") from None

    def run(self, prefix: str) -> RunDir:
        """The directory of the one run whose run id begins with `prefix`.

        Raises:
            UserError: there is no such run, or more than one.
        """
        found = self.runs.filter(pl.col("run_id").str.starts_with(prefix))
        if found.is_empty():
            raise unknown("run", prefix, self.runs["run_id"])
        if len(found) > 1:
            several = ", ".join(found["run_id"])
            raise UserError(
                f"'{prefix}' is the beginning of several run ids: {several}"
            )
        return RunDir(Path(found["path"][0]))

    def varying(self) -> tuple[str, ...]:
        """Configuration columns in which these runs differ, except cosmetic ones."""
        return tuple(
            name
            for name in self.config_columns
            if name.removeprefix("config.").split(".")[0] not in COSMETIC
            and self.runs[name].n_unique() > 1
        )

    def aggregate(
        self,
        by: Sequence[str] | None = None,
        values: Sequence[str] | None = None,
        confidence: float = 0.95,
    ) -> pl.DataFrame:
        """Means over the finished runs of each group, with confidence intervals.

        Args:
            by: columns that define the groups (short names work); by default all in
                which the runs differ, except the seed.
            values: columns to average; by default all numeric results.
            confidence: the confidence level of the intervals.

        Returns:
            One row per group; see `rnnjax.store.aggregate.aggregate`.

        Raises:
            UserError: a column does not exist, or is not numeric.
        """
        named = self.settings() if by is None else map(self.column, by)
        keys = list(dict.fromkeys(named))
        if values is None:
            wanted = [c for c in self.result_columns if _is_number(self.runs[c])]
        else:
            wanted = [self.column(name) for name in values]
        for name in wanted:
            if not _is_number(self.runs[name]):
                raise UserError(f"cannot average column '{name}': not numeric")
        done = self.runs.filter(pl.col("status").is_in(list(FINISHED)))
        wanted = [name for name in wanted if name not in keys]
        return aggregate.aggregate(done, keys, wanted, confidence)

    def settings(self) -> tuple[str, ...]:
        """Columns that tell groups of repetitions apart: `varying` without the seed."""
        return tuple(name for name in self.varying() if name != "seed")

    def metrics(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Metrics of all finished runs, one row per run and recorded step.

        Args:
            columns: columns of `runs` to add to the run id; by default those in which
                the runs differ. One that has the name of a metric is renamed ``run.…``.

        Raises:
            UserError: no run is finished, or a column does not exist.
        """
        labels, read = self._finished(METRICS, columns, RunDir.metrics)
        frames = [
            frame.select(pl.lit(run_id).alias("run_id"), pl.all())
            for run_id, frame in read.items()
        ]
        table = pl.concat(frames, how="diagonal_relaxed")
        clash = (set(labels.columns) & set(table.columns)) - {"run_id"}
        labels = labels.rename({name: f"run.{name}" for name in clash})
        table = table.join(labels, on="run_id", how="left", maintain_order="left")
        return table.select(*labels.columns, pl.exclude(labels.columns))

    def probes(self, columns: Sequence[str] | None = None) -> xr.Dataset:
        """Probes of all finished runs that have them, stacked along ``run``.

        Shorter runs are padded with NaN; see
        `rnnjax.store.joined.join_probes`.

        Args:
            columns: columns of `runs` that become coordinates along ``run``; by default
                those in which the runs differ.

        Raises:
            UserError: no finished run has probes, or a column does not exist.
        """
        labels, read = self._finished(PROBES, columns, RunDir.probes)
        kept = labels.drop("run_id").to_dict(as_series=True)
        return join_probes(list(read.values()), list(read), kept)

    def _finished(
        self, file: str, columns: Sequence[str] | None, reader: Callable[[RunDir], T]
    ) -> tuple[pl.DataFrame, dict[str, T]]:
        """Run ids with label columns, and the contents, of the runs that have `file`.

        A damaged run is left out, with a warning that names it.
        """
        columns = (
            self.varying() if columns is None else [self.column(c) for c in columns]
        )
        done = self.runs.filter(pl.col("status").is_in(list(FINISHED)))
        paths = zip(done["run_id"], done["path"], strict=True)
        read: dict[str, T] = {}
        for run_id, path in paths:
            run = RunDir(Path(path))
            try:
                if run.has(file):
                    read[run_id] = reader(run)
            except Damaged as error:
                warnings.warn(f"1 run is left out: {error}", stacklevel=3)
        if not read:
            raise UserError(
                f"none of the {len(self.runs)} runs is finished and has {file}"
            )
        labels = done.filter(pl.col("run_id").is_in(list(read)))
        return labels.select(list(dict.fromkeys(["run_id", *columns]))), read


def _is_number(series: pl.Series) -> bool:
    return series.dtype.is_numeric() or series.dtype == pl.Boolean
