"""One tidy row per run: which line it belongs to, at which distance, how it ended."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from rnnjax.report.naming import display, label, whole
from rnnjax.results import Results, load
from rnnjax.store.sweep_record import SWEEP, SweepRecord, read_sweep


AXES = ("task.distance", "task.length", "task.pad", "task.delay")
"""What counts as the distance of a task, the first that varies."""

WORDS = {"accuracy": "accuracy", "mean_squared_error": "mean squared error"}
"""What a report calls a metric."""


@dataclasses.dataclass(frozen=True)
class Runs:
    """The runs of a sweep in one vocabulary.

    Attributes:
        frame: one row per run. `run_id`, `variant` (the line in a figure), `setting`
            (whatever else of the task varies, as text), `distance` (None without an
            axis), `seed`, `status`, `metric` (on test examples, whichever it is),
            `baseline`, `solved`, `updates` (made until the task was solved, if known),
            `steps`, `diverged_at`, `error`, `examples` (of the evaluation), `balanced`
            (accuracy, where classes are uneven), `cell`, `activation`, `layers`,
            `compile_seconds`, `run_seconds`, `path`, and as they are the results
            `reference.…`, `test_count.…` and those of `metrics`, as `test_accuracy`.
        axis: the configuration key behind `distance`, such as ``task.distance``.
        metrics: names of the metrics that the manifests of the runs record.
    """

    frame: pl.DataFrame
    axis: str | None
    metrics: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The metric in words: that of all runs, or all that there are."""
        return " or ".join(WORDS[name] for name in self.metrics) or "test metric"

    @property
    def axis_name(self) -> str:
        """The axis in words."""
        return (self.axis or "distance").rpartition(".")[2]

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share of 1."""
        return self.metric == "accuracy"

    @property
    def variants(self) -> list[str]:
        """The lines, in the order of the sweep."""
        return self.frame["variant"].unique(maintain_order=True).to_list()


def read_runs(folder: Path) -> tuple[SweepRecord | None, Runs]:
    """The record of a sweep folder, None for a pool or a single run; and the runs.

    Raises:
        UserError: the folder holds none of them, or its record is damaged.
    """
    record = read_sweep(folder) if (folder / SWEEP).is_file() else None
    return record, tidy(load(folder), record.groups if record else None)


def tidy(results: Results, groups: Mapping[str, Sequence[str]] | None = None) -> Runs:
    """One row per run of a sweep, with its line in the figures and its distance.

    A line is the variant of a run, else its group, else its cell; beside it stand the
    keys outside the task that are still needed to tell two runs apart. `groups` are run
    ids by label, as ``sweep.json`` keeps them.
    """
    runs = results.runs
    varying = [key for key in results.varying() if key != "seed"]
    of_task = [key for key in varying if key.startswith("task.")]
    axis = _axis(runs, of_task, results.config_columns)
    base = _labels(runs, groups or {})
    frame = runs.with_columns(base)
    others = sorted(set(varying) - set(of_task) - {"variant"}, key=_importance)
    kept = _needed(frame, ["__label", *of_task], others)
    split = _needed(frame, ["__label", *([axis] if axis else [])], of_task)
    variant = [
        label(" ".join([row["__label"], *_pairs(row, kept)]))
        for row in frame.iter_rows(named=True)
    ]
    setting = [
        label(", ".join(_pairs(row, split))) for row in frame.iter_rows(named=True)
    ]
    distance = runs[axis].cast(pl.Float64) if axis else [None] * len(runs)
    recorded = set(_column(runs, "metric", pl.String))
    metrics = tuple(name for name in WORDS if name in recorded)
    scores = [f"{part}_{name}" for part in ("test", "validation") for name in metrics]
    table = pl.DataFrame(
        {
            "run_id": runs["run_id"],
            "variant": pl.Series(variant, dtype=pl.String),
            "setting": pl.Series(setting, dtype=pl.String),
            "distance": pl.Series(distance, dtype=pl.Float64),
            "seed": _column(runs, "seed", pl.Int64),
            "status": runs["status"],
            **{name: _column(runs, name, pl.Float64) for name in scores},
            "baseline": _column(runs, "baseline", pl.Float64),
            "solved": _column(runs, "solved", pl.Boolean),
            "updates": _updates(runs),
            "steps": _column(runs, "steps", pl.Int64),
            "diverged_at": _column(runs, "diverged_at", pl.Int64),
            "error": _column(runs, "error", pl.String),
            "examples": _column(runs, "test_examples", pl.Int64).fill_null(
                _column(runs, "eval.size", pl.Int64)
            ),
            "balanced": _column(runs, "test_balanced_accuracy", pl.Float64),
            "cell": _column(runs, "cell.name", pl.String),
            "activation": _column(runs, "activation", pl.String),
            "layers": _column(runs, "model.layers", pl.Int64),
            "compile_seconds": _column(runs, "compile_seconds", pl.Float64),
            "run_seconds": _column(runs, "run_seconds", pl.Float64),
            "path": runs["path"],
        }
    )
    extra = [
        runs[name].cast(pl.Float64, strict=False)
        for name in runs.columns
        if name.startswith(("reference.", "test_count.", *(f"{s}." for s in scores)))
    ]
    found = pl.coalesce(*scores[: len(metrics)], pl.lit(None, pl.Float64))
    return Runs(table.with_columns(found.alias("metric"), *extra), axis, metrics)


def _labels(runs: pl.DataFrame, groups: Mapping[str, Sequence[str]]) -> pl.Series:
    of_group = {key: label for label, keys in groups.items() for key in keys}
    variants = _column(runs, "variant", pl.String)
    cells = _column(runs, "cell.name", pl.String)
    rows = zip(runs["run_id"], variants, cells, strict=True)
    names = [
        variant
        if variant not in (None, "", "none")
        else of_group.get(run_id) or cell or "run"
        for run_id, variant, cell in rows
    ]
    return pl.Series("__label", [display(name) for name in names], dtype=pl.String)


def _axis(
    runs: pl.DataFrame, varying: Sequence[str], config: Sequence[str]
) -> str | None:
    known = [key for key in AXES if key in config]
    candidates = [key for key in known if key in varying]
    candidates += [key for key in varying if key not in known]
    candidates += known
    numeric = (
        key
        for key in candidates
        if runs[key].dtype.is_numeric() and not runs[key].is_null().any()
    )
    return next(numeric, None)


def _importance(key: str) -> tuple[int, str]:
    first = ("cell.name", "activation", "init.name", "lr")
    return (first.index(key) if key in first else len(first), key)


def _needed(
    frame: pl.DataFrame, keys: Sequence[str], candidates: Sequence[str]
) -> list[str]:
    """The candidates that tell rows apart which `keys` and earlier ones do not."""
    chosen: list[str] = []
    for candidate in candidates:
        before = [*keys, *chosen]
        if candidate not in before:
            more = frame.n_unique([*before, candidate])
            if more > frame.n_unique(before):
                chosen.append(candidate)
    return chosen


def _pairs(row: Mapping[str, object], keys: Sequence[str]) -> list[str]:
    bare = ("cell.name", "activation", "task.name", "backprop.name", "penalty.name")
    return [
        display(str(row[key]))
        if key in bare
        else f"{key.removeprefix('config.').rpartition('.')[2]}={_text(row[key])}"
        for key in keys
        if row[key] is not None
    ]


def _text(value: object) -> str:
    return whole(value) if isinstance(value, float) else str(value)


def _column(runs: pl.DataFrame, name: str, kind: type[pl.DataType]) -> pl.Series:
    if name not in runs.columns:
        return pl.Series(name, [None] * len(runs), dtype=kind)
    return runs[name].cast(kind, strict=False)


def _updates(runs: pl.DataFrame) -> list[int | None]:
    """Updates until solved, known for runs that stop once they have solved the task."""
    stops = _column(runs, "eval.stop_when_solved", pl.Boolean)
    solved = _column(runs, "solved", pl.Boolean)
    steps = _column(runs, "steps", pl.Int64)
    rows = zip(stops, solved, steps, strict=True)
    return [made if stop and done else None for stop, done, made in rows]
