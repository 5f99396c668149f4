"""Intervals of claims: what they cover, and what they could have contradicted."""

import numpy as np
import pytest
from scipy import stats

from rnnjax.reproduce.evidence import Estimate, mean, median, share


@pytest.mark.parametrize("hits, runs", [(0, 1), (3, 3), (6, 6), (2, 7), (0, 18)])
def test_a_share_has_wilsons_interval(hits, runs):
    found = share(np.arange(runs) < hits)
    known = stats.binomtest(hits, runs).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert found.value == hits / runs and found.runs == runs


def test_seeds_that_can_decide_most_of_them():
    assert share([True] * 5).low < 0.6 <= share([True] * 6).low


@pytest.mark.parametrize("runs", [6, 7, 9, 15, 40])
def test_a_median_is_covered_in_95_percent(runs):
    drawn = np.random.default_rng(0).exponential(size=(4000, runs))
    found = [median(row) for row in drawn]
    covered = np.mean([one.low <= np.log(2) <= one.high for one in found])
    # exact by counting: the chance that enough values lie on either side
    cut = int(np.sum(drawn[0] < found[0].low))
    exact = 1 - 2 * stats.binom.cdf(cut, runs, 0.5)
    assert exact >= 0.95 > 1 - 2 * stats.binom.cdf(cut + 1, runs, 0.5)
    assert covered == pytest.approx(exact, abs=0.012)


def test_too_few_runs_leave_no_interval():
    for few in (median([1.0] * 5), mean([1.0])):
        assert (few.low, few.high) == (-np.inf, np.inf)
        assert few.contradicts(0.0, np.inf) == "nothing"
    assert share([True]).contradicts(0.6, np.inf) == "nothing"


def test_a_run_without_a_number_is_not_dropped():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, np.nan]
    assert np.isnan(median(values).value) and np.isnan(mean(values).value)
    assert np.isnan(share([]).value)
    assert share([]).contradicts(0.5, np.inf) == "nothing"
    # one that diverged has an infinite loss, and stays in the order
    assert median([1.0, 2.0, 3.0, 4.0, 5.0, np.inf]).high == np.inf


def test_what_would_have_contradicted_is_the_least_that_does():
    found = Estimate(0.5, 0.4, 0.7, 6)
    assert found.contradicts(0.6, np.inf) == "< 0.4"
    assert found.contradicts(-np.inf, 0.3) == "> 0.4"
    for hits in range(13):
        one = share(np.arange(12) < hits)
        assert (one.high < 0.6) == (hits <= 3)
    assert share(np.arange(12) < 12).contradicts(0.6, np.inf) == "at most 3 of 12"
    for hits in range(13):
        assert (share(np.arange(12) < hits).low > 0.25) == (hits >= 6)
    assert share(np.zeros(12)).contradicts(-np.inf, 0.25) == "at least 6 of 12"


@pytest.mark.parametrize("runs", [6, 9, 22])
def test_a_median_is_contradicted_by_enough_runs(runs):
    needed = median(np.ones(runs)).needed
    for beyond in range(runs + 1):
        values = np.where(np.arange(runs) < beyond, 0.5, 2.0)
        assert (median(values).high < 1) == (beyond >= needed)
        assert (median(2.5 - values).low > 1) == (beyond >= needed)
    said = median(np.ones(runs)).contradicts(1.0, np.inf)
    assert said == f"{needed} of {runs} below 1"


def test_a_mean_has_students_interval():
    values = np.random.default_rng(1).normal(size=6)
    known = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    found = mean(values)
    assert (found.low, found.high) == pytest.approx(known)
