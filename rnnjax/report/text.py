"""What came out, in sentences chosen by the numbers.

Every function is pure, tables in and sentences out: what a table does not hold gives no
sentence, and all, some or none is said as it was counted. The tables are those of
`rnnjax.report.tables`.
"""

import math
from collections.abc import Sequence

import polars as pl

from rnnjax.counting import count
from rnnjax.report.aggregate import maximum, median, minimum
from rnnjax.report.conditions import Condition, farthest, places
from rnnjax.report.naming import listing, number, score, span, whole
from rnnjax.report.runs import WORDS
from rnnjax.report.tables import success_bound


def learned(outcomes: pl.DataFrame, axis: str, metric: str) -> list[str]:
    """A sentence for each place: which networks solved the task."""
    found = []
    for place in places(outcomes):
        here = place.of(outcomes).filter(pl.col("seeds") > 0)
        if not here.is_empty():
            found.append(_learned_at(here, place.title(axis), metric))
    return found


def _learned_at(here: pl.DataFrame, where: str, metric: str) -> str:
    solved, runs = int(here["solved"].sum()), int(here["seeds"].sum())
    start = f"At {where}, " if where else ""
    best, worst = _ends(here, metric)
    if solved == runs:
        ending = f"; {worst}" if worst else ""
        text = f"every network solved the task ({solved} of {runs} runs{ending})."
        return _sentence(start, text)
    if solved == 0:
        ending = f"; {best}" if best else ""
        text = f"no network solved the task (0 of {count(runs, 'run')}{ending})."
        if (here["at_chance"] == here["seeds"]).all():
            text = f"every network stayed at chance (0 of {runs} runs solved{ending})."
        return _sentence(start, text)
    none = here.filter(pl.col("solved") == 0)
    chance = pl.col("at_chance") == pl.col("seeds")
    groups = (
        ("every seed of", here.filter(pl.col("solved") == pl.col("seeds"))),
        (
            "some seeds of",
            here.filter(pl.col("solved").is_between(1, pl.col("seeds") - 1)),
        ),
        ("no seed of", none.filter(~chance)),
        ("no seed, at chance, of", none.filter(chance)),
    )
    parts = [
        f"{quantity} {listing([_one(row, metric) for row in rows.to_dicts()])}"
        for quantity, rows in groups
        if not rows.is_empty()
    ]
    return _sentence(
        start, f"{solved} of {runs} runs solved the task: {'; '.join(parts)}."
    )


def _ends(here: pl.DataFrame, metric: str) -> tuple[str, str]:
    """The best and the worst value of the metric, in words."""
    share = metric == "accuracy"
    low, high = minimum(here["low"]), maximum(here["high"])
    if math.isnan(low) or metric not in WORDS.values():
        return "", ""
    ends = (
        f"lowest {metric} {score(low, share)}",
        f"highest {metric} {score(high, share)}",
    )
    return ends if metric == WORDS["mean_squared_error"] else (ends[1], ends[0])


def _one(row: dict, metric: str) -> str:
    facts = [f"{row['solved']} of {row['seeds']}"] if row["solved"] else []
    if row["low"] is not None:
        facts.append(span(row["low"], row["high"], metric == "accuracy"))
    if row["updates"] is not None and row["solved"] == row["seeds"]:
        usual = "median " if row["seeds"] > 1 else ""
        facts.append(f"{usual}{whole(row['updates'])} updates")
    if row["diverged"]:
        facts.append(f"{row['diverged']} diverged")
    return f"{row['variant']} ({', '.join(facts)})" if facts else row["variant"]


def uneven_classes(outcomes: pl.DataFrame, axis: str) -> list[str]:
    """What accuracy says where classes are uneven, for each place."""
    found = []
    for place in places(outcomes):
        here = place.of(outcomes).drop_nulls("balanced")
        if here.is_empty():
            continue
        where = place.title(axis)
        text = (
            "classes are uneven: the best constant answer has accuracy "
            f"{score(median(here['baseline']))}, and the balanced accuracy of the "
            "networks, the mean over the classes, is "
            f"{span(minimum(here['balanced']), maximum(here['balanced']), True)}."
        )
        found.append(_sentence(f"At {where}, " if where else "", text))
    return found


def reach(outcomes: pl.DataFrame, axis: str) -> list[str]:
    """The farthest distance that every seed of a network solved, for each setting."""
    found = []
    for setting in outcomes["setting"].unique(maintain_order=True):
        here = outcomes.filter(
            pl.col("setting") == setting, pl.col("seeds") > 0
        ).drop_nulls("distance")
        if here["distance"].n_unique() < 2:
            continue
        whole_way = pl.col("distance").filter(pl.col("solved") == pl.col("seeds")).max()
        far = here.group_by("variant", maintain_order=True).agg(whole_way)
        top = here["distance"].max()
        parts = []
        for distance in sorted(far["distance"].drop_nulls().unique()):
            names = listing(far.filter(distance=distance)["variant"].to_list())
            largest = ", the largest tried" if distance == top else ""
            parts.append(f"{whole(distance)} for {names}{largest}")
        none = far.filter(pl.col("distance").is_null())["variant"].to_list()
        parts += [f"none for {listing(none)}"] if none else []
        where = f" ({setting})" if setting else ""
        found.append(
            f"The farthest {axis} that every seed solved{where}: {'; '.join(parts)}."
        )
    return found


def chrono(outcomes: pl.DataFrame, axis: str) -> list[str]:
    """Chrono initialisation against the usual gate bias, at the farthest distance."""
    found = []
    for place in farthest(outcomes):
        rows = {
            row["variant"]: row
            for row in place.of(outcomes).to_dicts()
            if row["seeds"] > 0
        }
        parts = []
        for name, usual in rows.items():
            timed = rows.get(f"{name} chrono")
            if timed is None:
                continue
            ours = timed["solved"] / timed["seeds"]
            theirs = usual["solved"] / usual["seeds"]
            how = ("as", "more", "less")[(ours > theirs) - (ours < theirs)]
            parts.append(
                f"{name} solved the task {how} often with it ({timed['solved']} of "
                f"{timed['seeds']} seeds with, {usual['solved']} of {usual['seeds']} "
                "without)"
            )
        if parts:
            found.append(
                "Chrono initialisation against the usual gate bias"
                f"{place.at(axis)}: {'; '.join(parts)}."
            )
    return found


def seeds_remark(outcomes: pl.DataFrame) -> list[str]:
    """How many seeds there are, and how little that many resolve."""
    seeds = outcomes.filter(pl.col("seeds") > 0)["seeds"].to_list()
    if not seeds:
        return []
    low, high = min(seeds), max(seeds)
    largest = count(high, "seed")
    text = largest if low == high else f"{low} to {largest}"
    rate = success_bound(high)
    if rate >= 0.9:
        return [f"Each combination was run with {text}."]
    times = f"{high} of {high}" if high > 1 else "a single success"
    return [
        f"Each combination was run with {text}, which resolves little: {times} is "
        f"compatible with a true success rate as low as {100 * rate:.0f} % (95 %, "
        "one-sided)."
    ]


def mishaps(failures: pl.DataFrame, axis: str) -> list[str]:
    """Which runs diverged, failed or were interrupted."""
    found = []
    for status, verb in (
        ("diverged", "diverged"),
        ("failed", "failed"),
        ("interrupted", "were interrupted"),
    ):
        rows = failures.filter(pl.col("status") == status).to_dicts()
        if not rows:
            continue
        names = []
        for row in rows[:6]:
            place = Condition(row["setting"], row["distance"]).title(axis)
            seed = "" if row["seed"] is None else f"seed {row['seed']}"
            at = row["diverged_at"]
            when = f"at update {at}" if status == "diverged" and at is not None else ""
            names.append(", ".join(filter(None, [row["variant"], place, seed, when])))
        more = f"; and {len(rows) - 6} more" if len(rows) > 6 else ""
        verb = "was interrupted" if status == "interrupted" and len(rows) == 1 else verb
        found.append(f"{count(len(rows), 'run')} {verb}: {'; '.join(names)}{more}.")
    return found


def left_out(lost: Sequence[str]) -> list[str]:
    """Runs of which a file is damaged, and the first reason."""
    if not lost:
        return []
    verb = "is" if len(lost) == 1 else "are"
    return [
        f"{count(len(lost), 'damaged run')} {verb} left out of every number here: "
        f"{lost[0].rstrip('.')}{'; …' if len(lost) > 1 else '.'}"
    ]


def references(lengths: pl.DataFrame, axis: str, metric: str) -> list[str]:
    """The networks beside each reference that the runs brought along."""
    if metric not in WORDS.values():
        return []
    found = []
    for name in (n for n in lengths.columns if n.startswith("reference.")):
        for place in places(lengths):
            here = place.of(lengths).drop_nulls([name, "metric"])
            if here.is_empty():
                continue
            sign = -1.0 if metric == WORDS["mean_squared_error"] else 1.0
            level = median(here[name])
            better = here.filter(sign * pl.col("metric") > sign * level)
            best = here.sort(sign * pl.col("metric"), descending=True).row(
                0, named=True
            )
            share = metric == "accuracy"
            found.append(
                f"Beside a {name.removeprefix('reference.').replace('_', ' ')} "
                f"({metric} {score(level, share)}) {len(better)} of "
                f"{count(len(here), 'network')} did better{place.at(axis)}, by the "
                f"median over seeds; the best is {best['variant']} "
                f"({score(best['metric'], share)})."
            )
    return found


def long_sentences(lengths: pl.DataFrame, axis: str, metric: str) -> list[str]:
    """Long against short sentences."""
    keys = ["test_accuracy.short", "test_accuracy.long"]
    if metric != "accuracy" or not set(keys) <= set(lengths.columns):
        return []
    found = []
    for place in places(lengths):
        here = place.of(lengths).drop_nulls(keys)
        if here.is_empty():
            continue
        gap = here["test_accuracy.long"] - here["test_accuracy.short"]
        worse = int((gap < 0).sum())
        counts = [
            f"{whole(median(here[key]))} {key.rpartition('.')[2]}"
            for key in ("test_count.short", "test_count.long")
            if key in here.columns and here[key].is_not_null().any()
        ]
        of_them = f"; {' and '.join(counts)} test sentences" if counts else ""
        found.append(
            f"{worse} of {count(len(here), 'network')} did worse on long than on short "
            f"sentences{place.at(axis)} (median difference "
            f"{number(median(gap))}{of_them})."
        )
    return found


def _sentence(start: str, text: str) -> str:
    return start + text if start else text[0].upper() + text[1:]
