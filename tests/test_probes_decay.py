"""The decay fit and the memory horizon on curves whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnjax.probes import by_lag, decay


LAGS = np.arange(100.0)


@given(st.floats(-2, 2).filter(lambda x: abs(x) > 1e-3), st.floats(-300, 300))
def test_an_exponential_gives_its_rate(slope, start):
    fit = decay(start + slope * LAGS)
    assert fit.slope == pytest.approx(slope, rel=1e-6)
    assert fit.intercept == pytest.approx(start, abs=1e-6 * (1 + abs(start)))
    assert fit.r2_exponential == pytest.approx(1.0)
    assert fit.zeros == 0


def test_a_power_law_is_told_from_an_exponential():
    fit = decay(-1.5 * np.log10(np.maximum(LAGS, 1)))
    assert fit.r2_power_law == pytest.approx(1.0)
    assert fit.r2_exponential < 0.95


def test_the_fit_is_robust_and_leaves_out_the_transient():
    curve = -0.3 * LAGS
    curve[:5] = 40.0
    curve[20], curve[70] = 50.0, -200.0
    assert decay(curve).slope == pytest.approx(-0.3, abs=1e-3)
    assert decay(curve, transient=0).intercept == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize(
    ("curve", "transient", "horizon"),
    [
        (-1.0 * LAGS, 5, 8.0),
        (-0.25 * LAGS, 5, 17.0),
        (-0.01 * LAGS, 5, np.inf),
        (+1.0 * LAGS, 5, np.inf),
        (-1.0 * LAGS[:7], 5, np.inf),
        (-1.0 * LAGS[:5], 5, np.nan),
        (np.where(LAGS < 3, 0.0, -np.inf), 5, 2.0),
        (np.where(LAGS < 30, 0.0, -np.inf), 5, 29.0),
        (np.where(LAGS < 50, -1.0 * LAGS, np.nan), 5, 8.0),
    ],
)
def test_memory_horizon(curve, transient, horizon):
    assert decay(curve, transient).horizon == pytest.approx(horizon, nan_ok=True)


def test_zeros_and_padding_are_not_fitted():
    curve = np.where(LAGS < 40, -0.5 * LAGS, -np.inf)
    curve[60:] = np.nan
    fit = decay(curve)
    assert fit.zeros == 20
    assert fit.slope == pytest.approx(-0.5)


def test_lags_run_from_the_last_loss_step_to_the_start():
    norms = np.array([[0.0, 10.0], [1.0, 11.0], [2.0, np.nan]])
    np.testing.assert_array_equal(
        by_lag(norms, np.array([2, 0])), [[2, 10], [1, np.nan], [0, np.nan]]
    )
    assert np.all(np.isnan(by_lag(norms, np.array([-1, -1]))))
