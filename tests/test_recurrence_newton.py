"""The parallel Newton iteration against the loop, and what it says of itself."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import Elman
from rnnjax.recurrence.functional import make_weights
from rnnjax.recurrence.layer import Recurrent, make_drive
from rnnjax.recurrence.newton import Newton
from rnnjax.recurrence.scan import Taps, plain_scan
from tests.engine_samples import outcome
from tests.recurrence_samples import (
    LABELS,
    LENGTHS,
    RESETS,
    T,
    arguments,
    build,
    normwise,
    quick_jit,
    rows,
)


@pytest.mark.parametrize("label", rows(LABELS))
def test_states_of_every_cell_equal_those_of_the_loop(label: str, x64: None) -> None:
    cell = build(label, "float64")

    @quick_jit
    def run(args: Any) -> Any:
        variables, x, h0 = args
        static, weights = make_weights(cell, variables["params"].get("cell", {}))
        drive = make_drive(
            static, weights, x, jnp.asarray(LENGTHS), jnp.asarray(RESETS)
        )
        # as many as there are steps always suffice
        found = Newton(iterations=T).iterate(static, weights, h0, drive)
        return found, plain_scan(static, weights, h0, drive, Taps())

    (states, report), expected = run(arguments(label, "float64"))
    assert report.converged and report.overflows == 0, report
    assert report.residual < 1e-12 and report.correction < 1e-10
    assert 2 <= report.iterations <= T
    assert normwise(states, expected) < 1e-12


@pytest.mark.parametrize(("label", "order"), [("elman", 2), ("lstm", 1), ("urnn", 1)])
def test_derivatives_equal_those_of_the_loop(label: str, order: int) -> None:
    ways = ("newton", "plain")
    actual, expected = (outcome(label, order=order, engine=e) for e in ways)
    for part in ("value", "run", "gradient", "taps", "second")[: 3 + order]:
        error = normwise(getattr(actual, part), getattr(expected, part))
        assert error < 1e-11, part


@pytest.mark.parametrize(
    "fields",
    [
        {"backwards": True, "backprop": "cut", "lag": 3},
        {"newton": Newton(iterations=2)},
    ],
    ids=["cut from the end", "not converged"],
)
def test_other_ways_through_time(fields: dict[str, Any]) -> None:
    plain = {k: v for k, v in fields.items() if k != "newton"}
    actual = outcome("elman", engine="newton", **fields)
    expected = outcome("elman", engine="plain", **plain)
    for part in ("run", "gradient", "taps", "second"):
        error = normwise(getattr(actual, part), getattr(expected, part))
        assert error < 1e-11, part


NETWORK = Elman(inputs=1, features=12)


def tanh_network(gain: float) -> Any:
    """Parameters, inputs, and (report, run by the engine, by the loop), for T = 150.

    The largest Lyapunov exponent grows with the gain; chaos sets in above 1.
    """
    rng, n, steps = np.random.default_rng(0), NETWORK.features, 150
    params = {
        "U": jnp.asarray(gain / np.sqrt(n) * rng.normal(size=(n, n)), jnp.float32),
        "V": jnp.asarray(0.1 * rng.normal(size=(1, n)), jnp.float32),
        "b": jnp.zeros(n),
    }
    x = jnp.asarray(rng.normal(size=(steps, 2, 1)), jnp.float32)
    return params, x, both_ways()(params, x)


@functools.cache
def both_ways() -> Any:
    @jax.jit
    def run(params: Any, x: Any) -> Any:
        static, weights = make_weights(NETWORK, params)
        h0, drive = static.initial_state((2,)), make_drive(static, weights, x)
        report = Newton().iterate(static, weights, h0, drive)[1]
        by = lambda engine: Recurrent(NETWORK, engine=engine).apply(
            {"params": {"cell": params}}, x
        )
        return report, by("newton"), by("plain")

    return run


def test_a_network_that_forgets_takes_a_few_iterations():
    *_, (report, found, expected) = tanh_network(0.5)
    assert report.converged and report.iterations <= 5 and report.overflows == 0
    assert normwise(found, expected) < 1e-6


def test_a_chaotic_network_falls_back_to_the_loop_and_says_so():
    *_, (report, found, expected) = tanh_network(3.0)
    assert not report.converged and report.iterations == Newton().iterations
    assert report.residual > 1e-3 and report.overflows > 0
    np.testing.assert_array_equal(found[0], expected[0])


def test_the_tolerance_decides_when_it_ends():
    params, x, (tight, *_) = tanh_network(0.5)
    static, weights = make_weights(NETWORK, params)
    h0, drive = static.initial_state((2,)), make_drive(static, weights, x)
    rough = Newton(tolerance=0.1).iterate(static, weights, h0, drive)[1]
    assert rough.converged and rough.iterations < tight.iterations
    assert tight.correction < 3e-5 < rough.correction < 0.1
