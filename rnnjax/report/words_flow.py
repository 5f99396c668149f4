"""What the gradients say, in sentences chosen by the numbers (see `words`)."""

import math

import polars as pl

from rnnjax.report.aggregate import middle, most
from rnnjax.report.figures.lag import FLOAT32_ENDS
from rnnjax.report.figures.words_strip import kernel_name
from rnnjax.report.naming import count, listing, number
from rnnjax.report.places import Place, places


FAR = 5.0
"""This many powers of ten below the end of float32 count as far."""

SMALL = 0.01
"""A share below it is called less than 1 %."""


def first_word(decays: pl.DataFrame, axis: str) -> list[str]:
    """log10‖λ_1‖ at the farthest distance: below float32, exactly zero, largest.

    Args:
        decays: `rnnjax.report.tables.decay_at`, at initialisation.
    """
    found = []
    for place in _farthest(decays):
        here = place.of(decays).filter(pl.col("first_word").is_not_nan())
        where = place.title(axis)
        start = f"At {where} and initialisation" if where else "At initialisation"
        finite = here.filter(pl.col("first_low").is_finite())
        below = finite.filter(pl.col("first_high") < FLOAT32_ENDS)
        for row in below.to_dicts():
            far = row["first_high"] < FLOAT32_ENDS - FAR
            found.append(
                f"{start} log₁₀‖λ₁‖ of {row['variant']} is "
                f"{number(row['first_word'], 1)} "
                f"({_range(row, 'first_low', 'first_high', 1)}), a finite number "
                f"{'far ' if far else ''}below {number(FLOAT32_ENDS, 0)}, where "
                "float32 ends."
            )
        for row in here.filter(pl.col("zeros") > 0).to_dicts():
            found.append(
                f"{start} the gradient of {row['variant']} is exactly zero at some lag "
                f"for {row['zeros']} of {count(row['seeds'], 'seed')}."
            )
        left = finite.filter(pl.col("first_ratio").is_finite())
        scaled = left["first_scaled"].is_finite()
        key = "first_scaled" if scaled.fill_null(False).all() else "first_ratio"
        top, *others = left.sort(key, descending=True).to_dicts() or [{}]
        # only where every seed of it lies above all of the others'
        if others and all(row[f"{key}_high"] < top[f"{key}_low"] for row in others):
            units = ", in units of the state" if key == "first_scaled" else ""
            found.append(
                f"{start} most of the gradient is left at the first word in "
                f"{top['variant']} (log₁₀ {number(top[key], 1)} of the largest near "
                f"the loss{units})."
            )
    return found


def exploded(decays: pl.DataFrame, axis: str) -> list[str]:
    """Which networks have no finite gradient at initialisation, wherever that is.

    Args:
        decays: `rnnjax.report.tables.decay_at`, at initialisation.
    """
    found = []
    for place in places(decays):
        rows = place.of(decays).filter(pl.col("exploded") > 0).to_dicts()
        if not rows:
            continue
        where = place.title(axis)
        start = f"At {where} and initialisation" if where else "At initialisation"
        shown = []
        for row in rows:
            some = row["exploded"] - row["lost"]
            parts = [f"in all examples of {row['lost']}"] if row["lost"] else []
            parts += [f"in some examples of {some}"] if some else []
            seeds = count(row["seeds"], "seed")
            shown.append(f"{row['variant']} ({' and '.join(parts)} of {seeds})")
        found.append(
            f"{start} {listing(shown)} explode{'s' if len(shown) == 1 else ''}: the "
            "gradient is not a finite number there, and is left out of every decay, "
            "horizon and norm."
        )
    return found


def extremes(decays: pl.DataFrame, axis: str) -> list[str]:
    """The slowest and the steepest decay at the farthest distance.

    Of the variants whose decay is an exponential, for which alone there is a rate; and
    only where their seeds lie apart.

    Args:
        decays: `rnnjax.report.tables.decay_at`, at initialisation.
    """
    found = []
    for place in _farthest(decays):
        here = place.of(decays).drop_nulls("slope").sort(pl.col("slope").abs())
        here = here.filter(pl.col("law") == "exponential")
        if len(here) < 2:
            continue
        flat, steep = here.row(0, named=True), here.row(-1, named=True)
        if (
            flat["slope_high"] >= steep["slope_low"]
            and steep["slope_high"] >= flat["slope_low"]
        ):
            continue  # seeds, or an axis that cannot matter before training
        kind = "steepest decay" if steep["slope"] < 0 else "steepest growth"
        where = place.title(axis)
        found.append(
            f"{'At ' + where + ' and' if where else 'At'} initialisation, of the "
            f"{len(here)} variants whose decay is exponential, the flattest gradient "
            f"is "
            f"that of {flat['variant']} ({number(flat['slope'], 4)} powers of ten per "
            f"step), the {kind} that of {steep['variant']} "
            f"({number(steep['slope'], 3)})."
        )
    return found


def bound_check(bounds: pl.DataFrame) -> list[str]:
    """Whether sigmoid networks decay at least as steeply as theory demands.

    Args:
        bounds: `rnnjax.report.tables.bounds`.
    """
    found = []
    for name in bounds["variant"].unique(maintain_order=True):
        here = bounds.filter(variant=name)
        held, total = int((here["margin"] <= 0).sum()), len(here)
        widest = number(most(here["margin"]), 3)
        amount = (
            f"all {total}"
            if held == total
            else f"none of {total}"
            if held == 0
            else f"only {held} of {total}"
        )
        found.append(
            f"{name}: the decay is at least as steep as log₁₀(σ_max(U)/4) per step, "
            f"with U of the same training step, in {amount} measurements (largest "
            f"slope − bound {widest})."
        )
    return found


def training_effect(decays: pl.DataFrame, runs: pl.DataFrame, axis: str) -> list[str]:
    """Whether training left more of the gradient at the first word, solved or not.

    Relative to the gradient near the loss, which shrinks as the loss is learnt.

    Args:
        decays: table of `rnnjax.report.flow.Flow`.
        runs: `rnnjax.report.runs.Runs.frame`.
    """
    found = []
    finite = decays.filter(pl.col("first_ratio").is_finite())
    ends = finite.filter(pl.col("stage") == "start").join(
        finite.filter(pl.col("stage") == "end"), on="identity", suffix="_end"
    )
    table = ends.join(runs.select("identity", "solved"), on="identity")
    for place in _farthest(table):
        parts = []
        for solved, words in (
            (True, "that solved the task"),
            (False, "that did not solve the task"),
        ):
            here = place.of(table).filter(pl.col("solved") == solved)
            if not here.is_empty():
                change = here["first_ratio_end"] - here["first_ratio"]
                parts.append(
                    f"in {(change > 0).sum()} of {count(len(here), 'run')} {words} "
                    f"(median {_signed(middle(change))})"
                )
        if parts:
            where = place.title(axis)
            found.append(
                f"Training raised log₁₀‖λ₁‖/‖λ_s‖{' at ' + where if where else ''} "
                f"{' and '.join(parts)}."
            )
    return found


def update_of_first_word(first: pl.DataFrame, axis: str) -> list[str]:
    """In how many networks the first word hardly takes part in the update.

    Args:
        first: `rnnjax.report.tables.first_word_shares`, of one kernel for each variant.
    """
    found = []
    for place in _farthest(first):
        parts, kernel = [], ""
        for stage, words in (("start", "initialisation"), ("end", "the end")):
            here = place.of(first).filter(pl.col("stage") == stage)
            if here.is_empty():
                continue
            kernel = kernel_name(here["kernel"][0])
            above = here.filter(pl.col("share").abs() >= SMALL)
            small = len(here) - len(above)
            shown = listing(
                [
                    f"{row['variant']}, {number(row['share'])}"
                    for row in above.to_dicts()
                ]
            )
            rest = f" (all but {shown})" if small and shown else ""
            parts.append(
                f"in {small} of {count(len(here), 'network')} at {words}{rest}"
            )
        if parts:
            where = place.title(axis)
            found.append(
                f"{'At ' + where + ' the' if where else 'The'} first word holds less "
                f"than 1 % of one sentence's update of {kernel}, in the median "
                f"sentence, {' and '.join(parts)}."
            )
    return found


def _farthest(table: pl.DataFrame) -> list[Place]:
    return list({place.setting: place for place in places(table)}.values())


def _range(row: dict, low: str, high: str, digits: int) -> str:
    if row["seeds"] == 1:
        return "1 seed"
    return (
        f"{count(row['seeds'], 'seed')}, {number(row[low], digits)} to "
        f"{number(row[high], digits)}"
    )


def _signed(value: float) -> str:
    return (
        number(value, 1) if value < 0 or math.isnan(value) else f"+{number(value, 1)}"
    )
