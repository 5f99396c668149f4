"""Sentences say what the tables hold, and nothing else."""

import math
import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnjax.report import text, text_flow
from rnnjax.report.flow import DECAYS, KEYS
from rnnjax.report.grids import horizon
from rnnjax.report.naming import score
from rnnjax.report.tables import bounds, decay_at, outcomes, success_bound


def run(variant: str, distance: float, metric: float, **other: Any) -> dict[str, Any]:
    """A row of the table of runs."""
    start = {
        "run_id": f"{variant}-{distance}-{other.get('seed', 0)}",
        "variant": variant,
        "setting": "",
        "distance": float(distance),
        "seed": 0,
        "status": "done",
        "metric": metric,
        "baseline": 0.5,
        "solved": metric >= 0.95,
        "updates": 250 if metric >= 0.95 else None,
        "examples": 1000,
        "balanced": None,
        "diverged_at": None,
        "error": None,
    }
    return start | other


def ended(*rows: dict[str, Any], metric: str = "accuracy") -> pl.DataFrame:
    types = {"balanced": pl.Float64}
    table = pl.DataFrame(list(rows), infer_schema_length=None, schema_overrides=types)
    return outcomes(table, metric)


def learned(*rows: dict[str, Any]) -> list[str]:
    return text.learned(ended(*rows), "distance", "accuracy")


def test_all_learned() -> None:
    rows = [run(name, 4, 0.98, seed=s) for name in ("GRU", "LSTM") for s in (0, 1)]
    assert learned(*rows) == [
        "At distance 4, every network solved the task "
        "(4 of 4 runs; lowest accuracy .98)."
    ]


def test_uneven_classes_show_the_balanced_accuracy() -> None:
    rows = [run("GRU", 4, 0.97, baseline=0.96, balanced=0.6), run("LSTM", 4, 0.96)]
    rows.append(run("LSTM", 8, 0.96))
    assert text.uneven_classes(ended(*rows), "distance") == [
        "At distance 4, classes are uneven: the best constant answer has accuracy .96, "
        "and the balanced accuracy of the networks, the mean over the classes, is .60."
    ]
    assert text.uneven_classes(ended(run("GRU", 4, 0.9)), "distance") == []


def test_none_learned_at_chance() -> None:
    rows = [run("GRU", 100, m, seed=s) for s, m in enumerate((0.49, 0.51))]
    assert learned(*rows) == [
        "At distance 100, every network stayed at chance "
        "(0 of 2 runs solved; highest accuracy .51)."
    ]


def test_none_learned_but_above_chance() -> None:
    (sentence,) = learned(run("GRU", 100, 0.49), run("LSTM", 100, 0.7))
    assert "no network solved the task" in sentence and "chance" not in sentence


def test_some_learned() -> None:
    (sentence,) = learned(
        *(
            run("LSTM chrono", 100, 1.0, seed=s, updates=u)
            for s, u in ((0, 250), (1, 500))
        ),
        run("Elman tanh", 100, 0.97, seed=0),
        run("Elman tanh", 100, 0.51, seed=1),
        *(run("Elman sigmoid", 100, m, seed=s) for s, m in ((0, 0.49), (1, 0.51))),
        run("GRU", 100, 0.8),
        run("GRU", 100, math.nan, seed=1, status="diverged", solved=False),
    )
    assert sentence == (
        "At distance 100, 3 of 8 runs solved the task: every seed of LSTM chrono "
        "(2 of 2, 1.00, median 375 updates); some seeds of Elman tanh (1 of 2, "
        ".51–.97); no seed of GRU (.80, 1 diverged); no seed, at chance, of Elman "
        "sigmoid (.49–.51)."
    )


def test_runs_that_did_not_finish_say_nothing() -> None:
    assert learned(run("GRU", 4, 0.99, status="failed")) == []
    assert text.seeds_remark(ended(run("GRU", 4, 0.99, status="running"))) == []


def test_an_error_is_best_when_low() -> None:
    rows = [run("GRU", 50, m, solved=False, seed=s) for s, m in enumerate((0.1, 0.2))]
    error = "mean squared error"
    (sentence,) = text.learned(ended(*rows, metric=error), "length", error)
    assert sentence == (
        "At length 50, no network solved the task (0 of 2 runs; lowest mean squared "
        "error 0.1)."
    )


RUNS = st.lists(
    st.tuples(
        st.sampled_from(["GRU", "GRU chrono", "LSTM", "LSTM chrono"]),
        st.sampled_from([4.0, 50.0]),
        st.sampled_from([0.5, 0.8, 0.96, 1.0, math.nan]),
        st.sampled_from(["done", "diverged", "failed"]),
    ),
    min_size=1,
    max_size=12,
)


@given(RUNS)
def test_no_claim_that_the_runs_do_not_hold(
    rows: list[tuple[str, float, float, str]],
) -> None:
    runs = [run(v, d, m, seed=i, status=s) for i, (v, d, m, s) in enumerate(rows)]
    table = ended(*runs)
    sentences = text.learned(table, "distance", "accuracy")
    places = {r["distance"] for r in runs if r["status"] != "failed"}
    assert len(sentences) == len(places)
    for sentence, distance in zip(sentences, sorted(places), strict=True):
        here = [r for r in runs if r["distance"] == distance]
        here = [r for r in here if r["status"] != "failed"]
        solved = sum(r["solved"] for r in here)
        assert f"{solved} of {len(here)} run" in sentence
        assert ("every network solved" in sentence) == (solved == len(here))
        if "every network stayed at chance" in sentence:
            assert all(r["metric"] < 0.54 for r in here)
        if "every seed of" in sentence:
            part = re.split(r"; (?:some|no) seed", sentence.split("every seed of")[1])[
                0
            ]
            for name in {r["variant"] for r in here}:
                own = [r["solved"] for r in here if r["variant"] == name]
                assert (f" {name} (" in part) == all(own)
    for sentence in text.chrono(table, "distance"):
        assert (
            "more often" in sentence
            or "less often" in sentence
            or "as often" in (sentence)
        )
        for name, k, n, j, m in re.findall(
            r"(\w+) solved the task \w+ often with it "
            r"\((\d+) of (\d+) seeds with, (\d+) of (\d+) without\)",
            sentence,
        ):
            far = max(d for v, d, *_ in rows)
            for variant, found in ((f"{name} chrono", (k, n)), (name, (j, m))):
                own = [
                    r["solved"]
                    for r in runs
                    if r["variant"] == variant
                    and r["distance"] == far
                    and r["status"] != "failed"
                ]
                assert (sum(own), len(own)) == tuple(map(int, found))


def test_reach_is_the_farthest_that_every_seed_solved() -> None:
    rows = [run("A", d, 1.0) for d in (4, 16, 50)]
    rows += [run("B", d, 1.0 if d == 4 else 0.5) for d in (4, 16, 50)]
    rows += [run("C", d, 0.5) for d in (4, 16, 50)]
    assert text.reach(ended(*rows), "distance") == [
        "The farthest distance that every seed solved: 4 for B; 50 for A, the largest "
        "tried; none for C."
    ]
    assert text.reach(ended(run("A", 4, 1.0)), "distance") == []


@pytest.mark.parametrize(
    ("timed", "usual", "verdict"),
    [(1.0, 0.5, "more often"), (0.5, 1.0, "less often"), (1.0, 1.0, "as often")],
)
def test_chrono_is_compared_by_its_counts(
    timed: float, usual: float, verdict: str
) -> None:
    table = ended(run("GRU", 100, usual), run("GRU chrono", 100, timed))
    (sentence,) = text.chrono(table, "distance")
    assert f"GRU solved the task {verdict} with it" in sentence
    assert text.chrono(ended(run("GRU", 100, usual)), "distance") == []


def test_few_seeds_are_said_to_resolve_little() -> None:
    rows = [run("GRU", 4, 1.0, seed=s) for s in (0, 1)]
    (sentence,) = text.seeds_remark(ended(*rows))
    assert "2 seeds, which resolves little" in sentence and "22 %" in sentence
    many = [run("GRU", 4, 1.0, seed=s) for s in range(40)]
    (sentence,) = text.seeds_remark(ended(*many))
    assert sentence == "Each combination was run with 40 seeds."
    assert success_bound(2) ** 2 == pytest.approx(0.05)


def lengths(**metrics: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "setting": "",
            "distance": [0.0] * len(metrics),
            "variant": list(metrics),
            "metric": list(metrics.values()),
            "reference.bag_of_words": [0.8] * len(metrics),
            "test_accuracy.short": [0.8] * len(metrics),
            "test_accuracy.long": [0.7, *[0.9] * (len(metrics) - 1)],
        }
    )


def test_references_and_lengths() -> None:
    table = lengths(GRU=0.82, LSTM=0.79)
    assert text.references(table, "pad", "accuracy") == [
        "Beside a bag of words (accuracy .80) 1 of 2 networks did better at pad 0, by "
        "the median over seeds; the best is GRU (.82)."
    ]
    (sentence,) = text.references(table, "pad", "mean squared error")
    assert "1 of 2 networks did better" in sentence and "LSTM" in sentence
    assert text.references(table, "pad", "test metric") == []
    (sentence,) = text.long_sentences(table, "pad", "accuracy")
    assert sentence.startswith("1 of 2 networks did worse on long")


def decay_rows(*rows: tuple[str, int, str, dict[str, Any]]) -> pl.DataFrame:
    """Fits: variant, seed, stage and what differs from a decay of −.1 over 100."""
    start = {
        "train_step": 0,
        "slope": -0.1,
        "rate": -0.1,
        "power": 0.0,
        "law": "exponential",
        "horizon": 31.0,
        "stays_below": 31.0,
        "lags": 100,
        "transient": 5,
        "zeros": 0,
        "first_word": -10.0,
        "first_ratio": -9.0,
        "first_scaled": None,
        "sigma_max": 1.0,
        "bound": None,
    }
    keys = dict.fromkeys(KEYS, pl.String) | {"distance": pl.Float64, "seed": pl.Int64}
    return pl.DataFrame(
        [
            {
                "run_id": f"{variant}{seed}",
                "variant": variant,
                "setting": "",
                "distance": 100.0,
                "seed": seed,
                "stage": stage,
                **(start | other),
            }
            for variant, seed, stage, other in rows
        ],
        schema=keys | DECAYS | {"stage": pl.String},
    )


def test_a_gradient_below_float32_is_named_with_its_range() -> None:
    table = decay_rows(
        ("Elman sigmoid", 0, "start", {"first_word": -63.4, "first_ratio": -62.0}),
        ("Elman sigmoid", 1, "start", {"first_word": -63.0, "first_ratio": -61.0}),
        ("GRU", 0, "start", {}),
    )
    found = text_flow.first_word(decay_at(table), "distance")
    assert found[0] == (
        "At distance 100 and initialisation log₁₀‖λ₁‖ of Elman sigmoid is −63.2 "
        "(2 seeds, −63.4 to −63.0), a finite number far below −45, where float32 ends."
    )
    assert found[1].startswith(
        "At distance 100 and initialisation GRU keeps the largest part of the gradient "
        "at the first word (log₁₀ −9.0 of the largest near the loss)."
    )


def test_cells_are_compared_in_units_of_their_state() -> None:
    larger = {"first_ratio": -2.0, "first_scaled": -8.0}
    table = decay_rows(
        ("LSTM", 0, "start", larger), ("GRU", 0, "start", {"first_scaled": -7.0})
    )
    (said,) = text_flow.first_word(decay_at(table), "distance")
    assert (
        "GRU keeps the largest part" in said
        and "(log₁₀ −7.0 of the largest near the loss, in units of" in said
    )
    # where one was measured without them, none is
    older = decay_rows(("LSTM", 0, "start", larger), ("GRU", 0, "start", {}))
    (said,) = text_flow.first_word(decay_at(older), "distance")
    assert (
        "LSTM keeps the largest part" in said
        and "(log₁₀ −2.0 of the largest near the loss)." in said
    )


@pytest.mark.parametrize(
    ("value", "phrase"),
    [(-47.0, "number below −45"), (-44.0, None), (-math.inf, None), (math.nan, None)],
)
def test_no_word_of_float32_where_it_does_not_end(
    value: float, phrase: str | None
) -> None:
    table = decay_rows(("GRU", 0, "start", {"first_word": value}))
    text = " ".join(text_flow.first_word(decay_at(table), "distance"))
    assert (phrase in text) if phrase else ("float32" not in text)
    assert "far below" not in text


def test_exact_zeros_are_told() -> None:
    dead = {"first_word": -math.inf, "zeros": 40}
    table = decay_rows(("Elman ReLU", 0, "start", dead), ("Elman ReLU", 1, "start", {}))
    (sentence,) = text_flow.first_word(decay_at(table), "distance")
    assert "exactly zero at some lag for 1 of 2 seeds" in sentence


@pytest.mark.parametrize(
    ("slopes", "amount"),
    [
        ((-0.7, -0.65), "all 2 measurements"),
        ((-0.7, -0.5), "only 1 of 2 measurements"),
        ((-0.3, -0.5), "none of 2 measurements"),
    ],
)
def test_the_bound_is_counted(slopes: tuple[float, float], amount: str) -> None:
    rows = [
        ("Elman sigmoid", seed, "start", {"slope": slope, "bound": -0.6})
        for seed, slope in enumerate(slopes)
    ]
    (sentence,) = text_flow.bound_check(bounds(decay_rows(*rows)))
    assert f"in {amount}" in sentence
    assert text_flow.bound_check(bounds(decay_rows(("GRU", 0, "start", {})))) == []


def test_rates_are_of_exponentials_alone() -> None:
    rows = (
        ("A", 0, "start", {"slope": 0.01}),
        ("B", 0, "start", {"slope": -0.6}),
        ("C", 0, "start", {"slope": -0.01, "law": "undecided"}),
    )
    assert text_flow.rates(decay_at(decay_rows(*rows)), "distance") == [
        "At distance 100 and initialisation the decay is exponential, in powers of ten "
        "per step: B −0.6000 and A 0.0100; 1 variant has no such rate."
    ]
    assert text_flow.rates(decay_at(decay_rows(rows[2])), "distance") == []


def test_the_horizon_of_seeds_is_counted_not_averaged() -> None:
    def cell(*horizons: float, **other: Any) -> str:
        made = [
            ("A", seed, "start", {"horizon": x, "stays_below": x} | other)
            for seed, x in enumerate(horizons)
        ]
        (row,) = decay_at(decay_rows(*made)).to_dicts()
        return horizon(row).text

    inf = math.inf
    assert cell(9.0, 11.0, 12.0) == "11"
    assert cell(9.0, 11.0, inf) == "11 (1 of 3 > 99)"
    assert cell(9.0, inf, inf) == "> 99 (2 of 3 > 99)"
    assert cell(inf, inf) == "> 99" and cell(math.nan) == "–"
    assert cell(9.0, stays_below=20.0) == "9, for good 20"
    assert cell(9.0, stays_below=inf) == "9, for good > 99"


def test_the_law_of_seeds_is_that_of_their_spread() -> None:
    def law(*fits: tuple[float, float]) -> str:
        made = [
            ("A", seed, "start", {"rate": rate, "power": power})
            for seed, (rate, power) in enumerate(fits)
        ]
        return decay_at(decay_rows(*made))["law"].item()

    assert law((-0.1, 0.01), (-0.11, -0.01), (-0.1, 0.0)) == "exponential"
    assert law((-0.001, -2.0), (0.001, -2.1), (0.0, -2.05)) == "power law"
    assert law((-0.1, 3.0), (0.2, -3.0)) == "undecided"
    assert law((-0.1, 0.0)) == "exponential"  # of its own curve


def test_training_effect_counts_runs() -> None:
    """By what is left of the gradient, whatever became of its size."""
    rows = [("GRU", s, "start", {"first_ratio": -10.0}) for s in range(3)]
    ends = [-2.0, -12.0, -9.0]
    rows += [
        ("GRU", s, "end", {"first_ratio": x, "first_word": -99.0})
        for s, x in enumerate(ends)
    ]
    runs = pl.DataFrame(
        {"run_id": ["GRU0", "GRU1", "GRU2"], "solved": [True, False, False]}
    )
    assert text_flow.training_effect(decay_rows(*rows), runs, "distance") == [
        "Training raised what is left of the gradient at the first word at distance "
        "100 "
        "(log₁₀‖λ₁‖/‖λ_s‖): of runs that solved the task, GRU 1 of 1, median +8.0; of "
        "runs that did not, GRU 1 of 2, median −0.5."
    ]
    states = [
        (name, seed, stage, other | {"first_scaled": 0.1 * seed - (stage == "end")})
        for name, seed, stage, other in rows
    ]
    (said,) = text_flow.training_effect(decay_rows(*states), runs, "distance")
    assert "GRU 1 of 1, median +8.0 (in units of the state 0 of 1, median −1.0)" in said


def test_the_first_word_in_the_update() -> None:
    table = pl.DataFrame(
        {
            "setting": "",
            "distance": [100.0] * 3,
            "variant": ["A", "B", "A"],
            "stage": ["start", "start", "end"],
            "parameter": ["layer0/V"] * 3,
            "share": [0.001, 0.2, 0.3],
        }
    )
    assert text_flow.update_of_first_word(table, "distance") == [
        "At distance 100 the first word holds less than 1 % of one sentence's update "
        "of V, in the median sentence, in 1 of 2 variants at initialisation (all but "
        "B, 0.20) and in 0 of 1 variant at the end."
    ]


def test_nothing_is_said_of_nothing() -> None:
    empty = decay_rows()
    start = decay_at(empty)
    assert text_flow.first_word(start, "distance") == []
    assert text_flow.rates(start, "distance") == []
    assert text_flow.bound_check(bounds(empty)) == []


@given(st.floats(0, 1))
def test_a_share_is_never_rounded_to_the_end(value: float) -> None:
    text = score(value)
    if 1e-6 < value < 1 - 1e-6:
        assert 0 < float(text) < 1
    assert abs(float(text) - value) <= 0.005 + 1e-12  # .125 and .12 are not exact
