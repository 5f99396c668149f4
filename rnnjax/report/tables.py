"""The tables of a report, each a function of tidy frames.

`runs` is `rnnjax.report.runs.Runs.frame`; `decays` and `shares` are tables of
`rnnjax.report.flow.Flow`.
"""

import math
from collections.abc import Sequence

import polars as pl

from rnnjax.probes.adjoints.decay import law_over_seeds
from rnnjax.report.aggregate import maximum, median_of, minimum
from rnnjax.store.manifest import FINISHED


PLACE = ["setting", "distance"]
AT_FIRST = ("first_word", "first_ratio", "first_scaled")
BROKEN = ("diverged", "failed", "interrupted")


def outcomes(runs: pl.DataFrame, metric: str) -> pl.DataFrame:
    """How the seeds of each variant did in each place.

    Returns:
        `setting`, `distance`, `variant`; `seeds`: runs that are done or diverged;
        `solved`: of them; `low`, `median`, `high` of the metric; `balanced`: median of
        the balanced accuracy; `baseline`;
        `at_chance`: runs whose accuracy is not more than two standard errors of the
        evaluation above the baseline (0 where that cannot be said); `updates`: median
        number until solved, over those that stopped then; `diverged`, `unfinished`.
    """
    finished = pl.col("status").is_in(list(FINISHED))
    value = pl.col("metric").filter(finished & pl.col("metric").is_not_nan())
    base = pl.col("baseline")
    error = (base * (1 - base) / pl.col("examples")).sqrt()
    chance = finished & (pl.col("metric") <= base + 2 * error)
    return (
        runs.group_by(*PLACE, "variant", maintain_order=True)
        .agg(
            finished.sum().alias("seeds"),
            (finished & pl.col("solved")).sum().alias("solved"),
            value.min().alias("low"),
            value.median().alias("median"),
            value.max().alias("high"),
            pl.col("balanced").filter(finished).median(),
            base.median(),
            (chance if metric == "accuracy" else pl.lit(False))
            .sum()
            .alias("at_chance"),
            pl.col("updates").filter(finished).median(),
            (pl.col("status") == "diverged").sum().alias("diverged"),
            (~finished).sum().alias("unfinished"),
        )
        .sort(*PLACE, maintain_order=True)
    )


def decay_at(decays: pl.DataFrame) -> pl.DataFrame:
    """The decay of every variant at initialisation, over its seeds; the farthest first.

    Returns:
        `setting`, `distance`, `variant`, `seeds`, and medians over the seeds: `slope`
        (`slope_low`, `slope_high`: range), `horizon` (inf: beyond the lags measured; of
        two in the middle the lower one; `beyond`: seeds in which it is, of `horizons`),
        `stays_below`, `lags`, `transient`, `first_word`, `first_ratio` and
        `first_scaled` (each with `…_low`, `…_high`), `sigma_max`, `bound`; `law`: that
        of the decay, of several seeds by their spread; `held`: measurements with slope
        ≤ bound, of `bounded`; `zeros`: seeds with an adjoint that is exactly zero;
        `exploded`: seeds with one that is not finite in some example, and `lost`, those
        of them in which it is in none: they have no part in the medians and ranges.
    """
    known = pl.col("slope").is_not_nan()
    slope = pl.col("slope").filter(known)
    measured = lambda name: pl.col(name).fill_nan(None)
    return (
        decays.filter(stage="start")
        .group_by(*PLACE, "variant", maintain_order=True)
        .agg(
            pl.len().alias("seeds"),
            slope.median(),
            slope.min().alias("slope_low"),
            slope.max().alias("slope_high"),
            pl.struct("rate", "power", "law", "lags", "transient")
            .filter(known)
            .map_batches(_law, pl.String, returns_scalar=True)
            .alias("law"),
            pl.col("horizon").is_infinite().sum().alias("beyond"),
            pl.col("horizon").is_not_nan().sum().alias("horizons"),
            pl.col("horizon", "stays_below").fill_nan(None).quantile(0.5, "lower"),
            *(median_of(key) for key in (*AT_FIRST, "sigma_max", "bound")),
            *(measured(key).min().alias(f"{key}_low") for key in AT_FIRST),
            *(measured(key).max().alias(f"{key}_high") for key in AT_FIRST),
            pl.col("lags").max(),
            pl.col("transient").max(),
            (pl.col("slope") <= pl.col("bound")).filter(known).sum().alias("held"),
            pl.col("bound").filter(known).count().alias("bounded"),
            (pl.col("zeros") > 0).sum().alias("zeros"),
            (pl.col("exploded") > 0).sum().alias("exploded"),
            (pl.col("exploded") == 1).sum().alias("lost"),
        )
        .sort("setting", "distance", descending=[False, True], maintain_order=True)
    )


def _law(fits: pl.Series) -> str | None:
    """The law of all seeds, from what is known of each; None without any."""
    table = fits.struct.unnest()
    if len(table) < 2:
        return table["law"].item() if len(table) else None
    span = int(maximum(table["transient"])), int(minimum(table["lags"])) - 1
    return law_over_seeds(table["rate"].to_numpy(), table["power"].to_numpy(), span)


def bounds(decays: pl.DataFrame) -> pl.DataFrame:
    """Every measurement that has a bound: `margin` = slope − bound, ≤ 0 if it holds."""
    return decays.filter(
        pl.col("bound").is_not_null() & pl.col("slope").is_not_nan()
    ).with_columns((pl.col("slope") - pl.col("bound")).alias("margin"))


def run_table(runs: pl.DataFrame, decays: pl.DataFrame) -> pl.DataFrame:
    """One row per run, with its decay and horizon at initialisation."""
    start = decays.filter(pl.col("stage") == "start").select(
        "run_id",
        *("slope", "horizon", "stays_below", "lags", "first_word", "first_ratio"),
        pl.col("horizon").is_infinite().cast(pl.Int64).alias("beyond"),
        pl.lit(1).alias("horizons"),
    )
    return runs.join(start, on="run_id", how="left", maintain_order="left")


def failures(runs: pl.DataFrame) -> pl.DataFrame:
    """Runs that diverged, failed or were interrupted."""
    return runs.filter(pl.col("status").is_in(BROKEN))


def length_table(runs: pl.DataFrame) -> pl.DataFrame:
    """Held-out metric by length of the sentence beside the references, over the seeds.

    Returns:
        `setting`, `distance`, `variant`, `seeds`, `metric`, `baseline`, and medians of
        every column `reference.…`, `test_count.…` and, such as `test_accuracy.…`, of
        the metric; empty if there are none of these.
    """
    extra = [name for name in runs.columns if "." in name]
    extra = [name for name in extra if runs[name].is_not_null().any()]
    rows = runs.filter(pl.col("status").is_in(list(FINISHED)))
    if not extra:
        rows = rows.clear()
    return (
        rows.group_by(*PLACE, "variant", maintain_order=True)
        .agg(
            pl.len().alias("seeds"),
            pl.col("metric", "baseline", *extra).fill_nan(None).median(),
        )
        .sort(*PLACE, maintain_order=True)
    )


def success_bound(seeds: int) -> float:
    """The lowest success rate that `seeds` successes of as many do not rule out (95 %).

    >>> round(success_bound(2), 3)
    0.224
    """
    return math.exp(math.log(0.05) / seeds)


def first_word_shares(shares: pl.DataFrame, kernels: Sequence[str]) -> pl.DataFrame:
    """Median share of the first word in some kernels, over sentences and seeds."""
    first = (pl.col("time") == 0) & pl.col("share").is_finite()
    return (
        shares.filter(first & pl.col("parameter").is_in(list(kernels)))
        .group_by(*PLACE, "variant", "stage", "parameter", maintain_order=True)
        .agg(pl.col("share").median())
    )
