"""Build the report of a sweep."""

from pathlib import Path

from rnnjax.counting import count
from rnnjax.report import text, text_flow, text_signal
from rnnjax.report.conditions import Condition
from rnnjax.report.figures.curves import training_curves
from rnnjax.report.figures.distance import metric_against_distance
from rnnjax.report.figures.examples import examples_against_lag
from rnnjax.report.figures.heat import adjoint_over_training
from rnnjax.report.figures.lag import SIZE, gradient_against_lag
from rnnjax.report.figures.positions import share_by_position
from rnnjax.report.figures.words_strip import main_kernels, share_per_word
from rnnjax.report.grids import (
    Grid,
    decay_grid,
    length_grid,
    outcome_grid,
    runs_grid,
)
from rnnjax.report.owned import Owned
from rnnjax.report.provenance import provenance
from rnnjax.report.study import Study, read_study
from rnnjax.report.style import VARIABLES, Drawing, fill, save
from rnnjax.report.tables import (
    bounds,
    decay_at,
    failures,
    first_word_shares,
    length_table,
    outcomes,
)
from rnnjax.store.atomic import make_folder, write_bytes, write_text
from rnnjax.store.frames import csv_bytes


REPORT, FIGURES, RUNS = "report.html", "figures", "runs.csv"


def build(sweep_dir: str | Path) -> Path:
    """Write ``report.html``, ``figures/`` and ``runs.csv`` of a sweep.

    Equal results give equal bytes.

    Args:
        sweep_dir: a sweep folder, a pool of runs, or a single run directory.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder holds no runs, cannot be written, or has a file of
            somebody else where the report would write (`rnnjax.report.owned`).
    """
    study = read_study(sweep_dir)
    folder = study.folder
    make_folder(folder / FIGURES, folder)
    drawn, owned = drawings(study), Owned(folder, REPORT)
    kinds = ("png", "svg", "pdf", "csv")
    files = [f"{FIGURES}/{one.name}.{kind}" for one in drawn for kind in kinds]
    names = [REPORT, RUNS, *files]
    owned.begin(names)
    write_bytes(folder / RUNS, csv_bytes(study.runs.frame.drop("path", "metric")))
    figures = [(one, save(one, folder / FIGURES)) for one in drawn]
    page = fill(
        "page.html",
        origin=provenance(folder, study.record, study.runs.frame),
        headline=_headline(study),
        findings=what_came_out(study),
        figures=figures,
        tables=_tables(study),
        runs=runs_grid(study.runs, study.flow.decays),
        failures=_failures(study),
        colours={name: VARIABLES[x.colour] for name, x in study.palette.items()},
    )
    write_text(folder / REPORT, page)
    owned.settle(names)
    return folder / REPORT


def drawings(study: Study) -> list[Drawing]:
    """All figures for which there is data."""
    runs, flow, colours = study.runs, study.flow, study.palette
    axis, metric = runs.axis_name, runs.metric
    found = [
        gradient_against_lag(flow.lags, colours, axis),
        gradient_against_lag(flow.lags, colours, axis, SIZE),
        examples_against_lag(flow.examples, colours, axis),
        metric_against_distance(runs.frame, colours, axis, metric),
        *share_per_word(flow.shares, colours, axis),
        share_by_position(flow.shares, colours, axis),
        *adjoint_over_training(flow.lags, colours, axis),
        *adjoint_over_training(flow.lags, colours, axis, SIZE),
        training_curves(study.metrics(), colours, axis, metric),
    ]
    return [drawing for drawing in found if drawing is not None]


def what_came_out(study: Study) -> list[tuple[str, list[str]]]:
    """Sentences about the results, under headings that have some."""
    runs, flow = study.runs, study.flow
    axis, metric = runs.axis_name, runs.metric
    ended = outcomes(runs.frame, metric)
    start = decay_at(flow.decays)
    lengths = length_table(runs.frame)
    kernels = [k for k in main_kernels(flow.shares, 3) if k.endswith("/V")][:1]
    first = first_word_shares(flow.shares, kernels)
    found = {
        "Learning": [
            *text.learned(ended, axis, metric),
            *text.uneven_classes(ended, axis),
            *text.reach(ended, axis),
            *text.chrono(ended, axis),
            *text.references(lengths, axis, metric),
            *text.long_sentences(lengths, axis, metric),
        ],
        "Gradients": [
            *text_flow.first_word(start, axis),
            *text_flow.exploded(start, axis),
            *text_flow.rates(start, axis),
            *text_flow.bound_check(bounds(flow.decays)),
            *text_flow.training_effect(flow.decays, runs.frame, axis),
            *text_flow.update_of_first_word(first, axis),
            *text_signal.first_word(flow.examples, axis),
        ],
        "How far this can be trusted": [
            *text.seeds_remark(ended),
            *text.mishaps(failures(runs.frame), axis),
            *text.left_out(study.lost),
        ],
    }
    return [(heading, said) for heading, said in found.items() if said]


def _tables(study: Study) -> list[tuple[str, str, Grid]]:
    runs = study.runs
    lengths = length_grid(runs)
    found = [
        (
            f"{runs.metric.capitalize()} of every variant",
            "Held-out: median (range over the seeds), then how many seeds solved the "
            "task and in how many updates (median; known for runs that stop then).",
            outcome_grid(runs),
        ),
        (
            "By length of the sentence",
            "Held-out, median over the seeds, beside what other methods reach.",
            lengths,
        ),
        (
            "Decay at initialisation",
            "Mean change of log₁₀ of the gradient per step of lag, median over the "
            "seeds with their range. Law: whether the steps d_l of that curve follow "
            "a + b log₁₀((l+1)/l) with b = 0 (exponential), with a = 0 (power law), "
            "with neither (mixture), hardly change it (none) or leave it undecided. "
            "Horizon: the first lag with less than a thousandth of ‖λ_s‖, the largest "
            "gradient at lags 0 to 5. Both are of each sentence relative to its ‖λ_s‖, "
            "then the mean of the logarithm. In units of the state: ‖Σ^½λ‖ in place of "
            "‖λ‖, Σ the covariance of the state over sentences; that number, unlike "
            "‖λ‖, does not depend on how a cell scales its state. The bound holds for "
            "one layer of sigmoid Elman cells; “slope ≤ bound” counts measurements.",
            decay_grid(runs, study.flow.decays),
        ),
    ]
    return [(a, b, table) for a, b, table in found if table is not None and table.rows]


def _headline(study: Study) -> str:
    runs = study.runs.frame
    variants = count(runs["variant"].n_unique(), "variant")
    parts = [count(len(runs), "run"), variants]
    if runs["distance"].n_unique() > 1:
        parts.append(f"{runs['distance'].n_unique()} values of {study.runs.axis_name}")
    if runs["seed"].n_unique() > 0:
        parts.append(count(runs["seed"].n_unique(), "seed"))
    return f"{', '.join(parts)}."


def _failures(study: Study) -> list[str]:
    found = []
    for row in failures(study.runs.frame).iter_rows(named=True):
        place = Condition(row["setting"], row["distance"]).title(study.runs.axis_name)
        seed = None if row["seed"] is None else f"seed {row['seed']}"
        name = ", ".join(filter(None, [row["variant"], place, seed]))
        at = row["diverged_at"]
        when = f" at update {at}" if at is not None else ""
        reason = f": {row['error']}" if row["error"] else ""
        found.append(f"{name} – {row['status']}{when}{reason} ({row['run_id']})")
    return found
