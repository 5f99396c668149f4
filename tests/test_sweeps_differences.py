"""Two arrays are the same in all bits, or it is said where and how far they part."""

import math
from typing import Any

import numpy as np
import pytest

from rnnjax.sweeps.differences import Difference, Place, differences, same_bits


AT = Place(4, "metrics", "loss")
NAN = np.array([np.nan], np.float32)
OTHER_NAN = (NAN.view(np.uint32) ^ 1).view(np.float32)


def difference(stored: Any, here: Any) -> Difference | None:
    found = differences({AT: np.asarray(stored)}, {AT: np.asarray(here)}, None)
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    "value", [1.5, np.nan, [np.inf, -np.inf, 0.0], "a text", ["a", "b"], True, None, []]
)
def test_the_same_is_no_difference(value):
    assert difference(value, value) is None


@pytest.mark.parametrize(
    ("stored", "here", "texts", "relative"),
    [
        (2.0, 2.5, ("2.5", "2.0"), 0.25),
        ([4.0, 1.0], [4.0, 3.0], ("3.0", "1.0"), 0.5),
        (1e-9, 2e-9, ("2e-09", "1e-09"), 1e-6),  # in units of a thousandth
        (1 + 2j, 1 + 1j, ("(1+1j)", "(1+2j)"), 1 / math.sqrt(5)),
        (0.0, -0.0, ("-0.0", "0.0"), 0.0),
        ([1.0, 0.0], [1.0, -0.0], ("-0.0", "0.0"), 0.0),
        (NAN, OTHER_NAN, ("nan", "nan"), 0.0),
        (np.float32(1), np.float64(1), ("1.0", "1.0"), 0.0),
        (3, 4, ("4", "3"), 1 / 3),
        ([1.0, np.nan], [1.0, 2.0], ("2.0", "nan"), math.inf),
        (np.inf, -np.inf, ("-inf", "inf"), math.inf),
        (np.inf, 1.0, ("1.0", "inf"), math.inf),
        (True, False, ("False", "True"), math.inf),
        (["a", "b"], ["a", "c"], ("c", "b"), math.inf),
        (None, 1.0, ("1.0", "None"), math.inf),
        ([1.0], [1.0, 2.0], ("float64 of size 2", "float64 of size 1"), math.inf),
    ],
)
def test_what_differs(stored, here, texts, relative):
    found = difference(stored, here)
    assert found is not None
    assert (found.place, found.here, found.stored) == (AT, *texts)
    assert found.relative == pytest.approx(relative)


def test_an_array_that_one_side_lacks():
    (found,) = differences({}, {AT: np.zeros((2, 3))}, None)
    assert (found.here, found.stored) == ("float64 of size 2 × 3", "none")
    (found,) = differences({AT: np.asarray(0.5)}, {}, None)
    assert (found.here, found.stored, found.relative) == ("none", "0.5", math.inf)


def test_the_earliest_step_comes_first():
    places = [
        Place(5, "metrics", "b"),
        Place(4, "results", "a"),
        Place(5, "probes", "a"),
    ]
    stored = {place: np.asarray(1.0) for place in places}
    here = {place: np.asarray(2.0) for place in reversed(places)}
    found = [one.place for one in differences(stored, here, None)]
    assert found == [places[1], places[0], places[2]]


@pytest.mark.parametrize(("updates", "units"), [(None, [8, 8, 8]), (2, [2, 2, 8])])
def test_the_unit_is_the_largest_number_so_far(updates, units):
    values = {1: 1.0, 2: 2.0, 3: 8.0}
    stored = {Place(s, "metrics", "a"): np.asarray(v) for s, v in values.items()}
    here = {place: value + 0.5 for place, value in stored.items()}
    found = [one.relative for one in differences(stored, here, updates)]
    assert found == pytest.approx([0.5 / unit for unit in units])


def test_bytes_decide():
    assert same_bits(NAN, NAN) and not same_bits(NAN, OTHER_NAN)
    assert not same_bits(np.zeros(2), np.zeros((2, 1)))
