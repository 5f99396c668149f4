"""A run keeps its name through everything cosmetic, and loses it by all the rest."""

import copy
import math
from pathlib import Path
from typing import Any

import jax
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.store.environment import numerics
from rnnjax.store.run_id import (
    COSMETIC,
    file_digest,
    lineage,
    run_id_of,
)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
)
KEYS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=6)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
CONFIGS = st.dictionaries(KEYS.map(lambda key: f"k{key}"), TREES, max_size=4)
BASE = {"cell": {"name": "lstm", "sizes": [8, 4]}, "seed": 0, "lr": 1e-3, "clip": None}


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(entry) for entry in value] if isinstance(value, list) else value


def same(a: Any, b: Any) -> bool:
    """Equality under which True is not 1, 1 is 1.0, and NaN is NaN."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return isinstance(a, bool) == isinstance(b, bool) and a == b


@settings(deadline=None)
@given(CONFIGS)
def test_order_of_keys_does_not_matter(config: dict[str, Any]):
    assert run_id_of(config, {}) == run_id_of(reordered(config), {})


@settings(deadline=None)
@given(CONFIGS, CONFIGS)
def test_different_configurations_differ(a: dict[str, Any], b: dict[str, Any]):
    assert (run_id_of(a, {}) == run_id_of(b, {})) == same(a, b)


@settings(deadline=None)
@given(CONFIGS, TREES, st.sampled_from(sorted(COSMETIC)))
def test_cosmetic_keys_do_not_matter(config: dict[str, Any], value: Any, key: str):
    assert run_id_of({**config, key: value}, {}) == run_id_of(config, {})


@settings(deadline=None)
@given(CONFIGS, TREES, st.sampled_from(sorted(COSMETIC)))
def test_cosmetic_names_matter_further_in(config: dict[str, Any], value: Any, key: str):
    assume(not same(config.get("task"), {key: value}))
    assert run_id_of({**config, "task": {key: value}}, {}) != run_id_of(config, {})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": 0.0}, True),
        ({"lr": 0.001}, True),
        ({"seed": -0.0}, True),
        ({"cell": {"sizes": (8, 4.0), "name": "lstm"}}, True),
        ({"name": "mine", "out": "/elsewhere"}, True),
        ({"steps": 7}, False),
        ({"seed": False}, False),
        ({"seed": "0"}, False),
        ({"lr": math.nextafter(1e-3, 1)}, False),
        ({"clip": "None"}, False),
        ({"clip": math.inf}, False),
        ({"cell": {"name": "lstm", "sizes": [4, 8]}}, False),
        ({"cell": {"name": "gru", "sizes": [8, 4]}}, False),
        ({"extra": None}, False),
    ],
)
def test_table_of_changes(change: dict[str, Any], expected: bool):
    changed = {**copy.deepcopy(BASE), **change}
    assert (run_id_of(changed, {}) == run_id_of(BASE, {})) is expected


def test_data_and_schema_matter():
    names = {
        run_id_of(BASE, {}),
        run_id_of(BASE, {"data": "aa"}),
        run_id_of(BASE, {"data": "ab"}),
        run_id_of(BASE, {"cell": "aa"}),
        run_id_of(BASE, {}, version=1),
        run_id_of(BASE, {}, numerics={"x64": True}),
    }
    assert len(names) == 6
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in names)


def test_identity_is_the_same_in_every_version():
    """Frozen: another value here means that no stored run is found again."""
    assert run_id_of(BASE, {"data": "aa"}, version=2) == "bac83c2903f0"


def test_runs_of_all_lengths_are_one_lineage():
    short, long = {**BASE, "steps": 300}, {**BASE, "steps": 600}
    assert run_id_of(short, {}) != run_id_of(long, {})
    assert lineage(short, {}) == lineage(long, {}) != lineage(BASE | {"seed": 1}, {})
    assert lineage(short, {}) != lineage(short, {}, numerics={"prng": "rbg"})


def test_data_counts_by_content_and_not_by_path():
    """Without a digest of the content the path still counts."""
    here, there = ({**BASE, "task": {"path": p, "length": 8}} for p in ("/a", "/b"))
    for digests, same_run in [({"data": "aa"}, True), ({}, False)]:
        assert (run_id_of(here, digests) == run_id_of(there, digests)) is same_run
    longer = {**BASE, "task": {"path": "/a", "length": 9}}
    assert run_id_of(longer, {"data": "aa"}) != run_id_of(here, {"data": "aa"})


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {3, 4}}, b"bytes"])
def test_only_plain_values(value: object):
    with pytest.raises(TypeError):
        run_id_of({"key": value}, {})


def test_file_digest(tmp_path: Path):
    file = tmp_path / "data.csv"
    file.write_bytes(b"abc")
    assert file_digest(file).startswith("ba7816bf8f01cfea")
    with pytest.raises(UserError, match="cannot read .*none.csv"):
        file_digest(tmp_path / "none.csv")


def test_an_offset_of_all_seeds_is_part_of_the_run_id():
    """It changes every number; without one a run id is what it always was."""
    plain = numerics()
    assert "seed_offset" not in plain
    before = jax.config.jax_random_seed_offset  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_random_seed_offset", 7)
    try:
        assert numerics()["seed_offset"] == 7
        assert run_id_of({}, {}, numerics=numerics()) != run_id_of(
            {}, {}, numerics=plain
        )
    finally:
        jax.config.update("jax_random_seed_offset", before)
