"""What the gradients say, in sentences chosen by the numbers (see `text`).

At initialisation `decays` are `rnnjax.report.tables.decay_at`, over training those of
`rnnjax.report.flow.Flow`.
"""

import polars as pl

from rnnjax.counting import count
from rnnjax.report.aggregate import maximum, median
from rnnjax.report.conditions import Condition, farthest, places
from rnnjax.report.figures.words_strip import kernel_name
from rnnjax.report.layout import FLOAT32_ENDS
from rnnjax.report.naming import listing, number


FAR = 5.0
"""This many powers of ten below the end of float32 count as far."""

MAX_RATES = 8
"""Rates that a sentence lists."""

SMALL = 0.01
"""A share below it is called less than 1 %."""


def first_word(decays: pl.DataFrame, axis: str) -> list[str]:
    """log10‖λ_1‖ at the farthest distance: below float32, exactly zero, largest."""
    found = []
    for place in farthest(decays):
        here = place.of(decays).filter(pl.col("first_word").is_not_nan())
        start = _at_start(place, axis)
        finite = here.filter(pl.col("first_word_low").is_finite())
        below = finite.filter(pl.col("first_word_high") < FLOAT32_ENDS)
        for row in below.to_dicts():
            far = row["first_word_high"] < FLOAT32_ENDS - FAR
            seeds = count(row["seeds"], "seed")
            if row["seeds"] > 1:
                ends = (number(row[f"first_word_{end}"], 1) for end in ("low", "high"))
                seeds += f", {' to '.join(ends)}"
            found.append(
                f"{start} log₁₀‖λ₁‖ of {row['variant']} is "
                f"{number(row['first_word'], 1)} ({seeds}), a finite number "
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
                f"{start} {top['variant']} keeps the largest part of the gradient at "
                f"the first word (log₁₀ {number(top[key], 1)} of the largest near the "
                f"loss{units})."
            )
    return found


def exploded(decays: pl.DataFrame, axis: str) -> list[str]:
    """Which networks have no finite gradient at initialisation, wherever that is."""
    found = []
    for place in places(decays):
        rows = place.of(decays).filter(pl.col("exploded") > 0).to_dicts()
        if not rows:
            continue
        shown = []
        for row in rows:
            some = row["exploded"] - row["lost"]
            parts = [f"in all examples of {row['lost']}"] if row["lost"] else []
            parts += [f"in some examples of {some}"] if some else []
            seeds = count(row["seeds"], "seed")
            shown.append(f"{row['variant']} ({' and '.join(parts)} of {seeds})")
        found.append(
            f"{_at_start(place, axis)} {listing(shown)} "
            f"explode{'s' if len(shown) == 1 else ''}: the gradient is not a finite "
            "number there, and is left out of every decay, horizon and norm."
        )
    return found


def rates(decays: pl.DataFrame, axis: str) -> list[str]:
    """The decay at the farthest distance of the variants for which there is a rate.

    Those whose decay is an exponential; the number of the others is said.
    """
    found = []
    for place in farthest(decays):
        known = place.of(decays).drop_nulls("slope")
        here = known.filter(pl.col("law") == "exponential").sort("slope")
        if here.is_empty():
            continue
        shown = listing(
            [
                f"{row['variant']} {number(row['slope'], 4)}"
                for row in here.head(MAX_RATES).to_dicts()
            ]
        )
        rest = len(known) - len(here)
        have = "has" if rest == 1 else "have"
        other = f"; {count(rest, 'variant')} {have} no such rate" if rest else ""
        found.append(
            f"{_at_start(place, axis)} the decay is exponential, in powers of ten per "
            f"step: {shown}{other}."
        )
    return found


def bound_check(bounds: pl.DataFrame) -> list[str]:
    """Whether the gradient of sigmoid networks decays at least as fast as its bound."""
    found = []
    for name in bounds["variant"].unique(maintain_order=True):
        here = bounds.filter(variant=name)
        held, total = int((here["margin"] <= 0).sum()), len(here)
        widest = number(maximum(here["margin"]), 3)
        amounts = {0: f"none of {total}", total: f"all {total}"}
        amount = amounts.get(held, f"only {held} of {total}")
        found.append(
            f"{name}: the decay is at least as steep as log₁₀(σ_max(U)/4) per step, "
            f"with U of the same training step, in {amount} measurements (largest "
            f"slope − bound {widest})."
        )
    return found


def training_effect(decays: pl.DataFrame, runs: pl.DataFrame, axis: str) -> list[str]:
    """Whether training left more of the gradient at the first word, solved or not.

    Relative to the gradient near the loss, which shrinks as the loss is learnt, and for
    each variant: variants differ in where they start. Beside it the same in units of
    the state, whose spread training changes, too.
    """
    found = []
    finite = decays.filter(pl.col("first_ratio").is_finite())
    ends = finite.filter(pl.col("stage") == "start").join(
        finite.filter(pl.col("stage") == "end"), on="run_id", suffix="_end"
    )
    table = ends.join(runs.select("run_id", "solved"), on="run_id")
    for place in farthest(table):
        parts = []
        for solved, words in (
            (True, "of runs that solved the task"),
            (False, "of runs that did not"),
        ):
            here = place.of(table).filter(pl.col("solved") == solved)
            each = [
                _raised(name, here.filter(variant=name))
                for name in here["variant"].unique(maintain_order=True)
            ]
            if each:
                parts.append(f"{words}, {listing(each)}")
        if parts:
            found.append(
                "Training raised what is left of the gradient at the first word"
                f"{place.at(axis)} (log₁₀‖λ₁‖/‖λ_s‖): {'; '.join(parts)}."
            )
    return found


def _raised(name: str, table: pl.DataFrame) -> str:
    """In how many runs of a variant, by how much in the median, in both units."""
    texts = []
    for key in ("first_ratio", "first_scaled"):
        change = (table[f"{key}_end"] - table[key]).cast(pl.Float64)
        if change.is_finite().fill_null(False).all():
            middle = median(change)
            sign = "+" if middle >= 0 else ""
            texts.append(
                f"{(change > 0).sum()} of {len(change)}, median "
                f"{sign}{number(middle, 1)}"
            )
    first, *scaled = texts
    return f"{name} {first}" + (
        f" (in units of the state {scaled[0]})" if scaled else ""
    )


def update_of_first_word(first: pl.DataFrame, axis: str) -> list[str]:
    """In how many variants the first word hardly takes part in the update.

    `first` is of one kernel for each variant.
    """
    found = []
    for place in farthest(first):
        parts, kernel = [], ""
        for stage, words in (("start", "initialisation"), ("end", "the end")):
            here = place.of(first).filter(pl.col("stage") == stage)
            if here.is_empty():
                continue
            kernel = kernel_name(here["parameter"][0])
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
                f"in {small} of {count(len(here), 'variant')} at {words}{rest}"
            )
        if parts:
            where = place.title(axis)
            found.append(
                f"{'At ' + where + ' the' if where else 'The'} first word holds less "
                f"than 1 % of one sentence's update of {kernel}, in the median "
                f"sentence, {' and '.join(parts)}."
            )
    return found


def _at_start(place: Condition, axis: str) -> str:
    where = place.title(axis)
    return f"At {where} and initialisation" if where else "At initialisation"
