"""What a probe's page says and draws of signal, offset and noise."""

import numpy as np
import pytest
import xarray as xr

from rnnjax.quantities import ALL
from rnnjax.quantities.signal import EUCLIDEAN, OPTIMIZER
from rnnjax.report.instruments.signal import signal as draw
from rnnjax.report.probe_summary import summary
from rnnjax.report.probe_text_signal import signal as say


LAGS = 4


def made(signal: float = 0.25, update: float = 3.0, horizon: float = 3.0) -> xr.Dataset:
    """Four lags, the last of which carries the signal, in two metrics."""
    shares = np.zeros((3, LAGS, 3))
    shares[2] = np.array([[0.1, 0.0, 0.2], [0.2, 0.1, 0.3], [0.2] * 3, [0.25] * 3])
    shares[0, 3] = signal, signal - 0.1, signal + 0.1
    shares[0, :3] = 0.01, -0.1, 0.1
    own = np.array([[np.inf, 2.0, np.inf]] * 3 + [[1.0, 0.9, 1.1]])
    whole = np.array(
        [[np.inf, 4.0, np.inf]] * 3 + [[update, update - 0.1, update + 0.1]]
    )
    of = {"metric": [EUCLIDEAN, OPTIMIZER], "gradient_of": ["layer0/U", ALL]}
    dims = ("metric", "gradient_of")
    shape = (2, 2)

    def every(x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x, (*shape, *x.shape)).copy()

    data = xr.Dataset(
        {
            "update_share": ((*dims, "part", "lag", "bound"), every(shares)),
            "log10_examples": ((*dims, "lag", "bound"), every(own)),
            "log10_examples_in_update": ((*dims, "lag", "bound"), every(whole)),
            "budget_horizon": (dims, np.full(shape, horizon)),
        },
        {
            **of,
            "part": ["signal", "offset", "noise"],
            "bound": ["estimate", "low", "high"],
            "lag": np.arange(LAGS),
        },
    )
    data["update_share"].attrs["batch"] = 32
    data["log10_examples"].attrs["examples"] = 512
    data["budget_horizon"].attrs["examples"] = 64_000
    return data


def test_the_sentences_follow_from_the_numbers():
    parts, needed = say(made())
    assert "of a batch of 32, noise makes up 75 %" in parts
    assert "differs from 0 at 1 of 4 lags, where it makes up 25 %" in parts
    assert "At lag 3 the signal exceeds its own noise from 10 [7.9, 13]" in needed
    assert "of the whole gradient from 1000 [794, 1259]" in needed
    assert needed.endswith("64000 examples of the training run lag 3 is the farthest.")


def test_a_signal_that_is_not_seen_is_not_claimed():
    parts, needed = say(made(signal=0.05, update=np.inf, horizon=np.nan))
    assert parts.endswith("Signal differs from 0 at 0 of 4 lags.")
    assert "of the whole gradient from more than" in needed
    assert needed.endswith("of the training run no lag does.")


def test_rows_of_the_table():
    rows = {row.quantity: row.value for row in summary(made())}
    name = "all: farthest lag seen within 64000 examples"
    assert rows[name] == "lag 3 (lag 3 in the metric of the optimizer)"


@pytest.mark.parametrize("update", [3.0, np.inf])
def test_bars_and_examples_are_drawn(update):
    figure = draw(made(update=update))
    assert figure is not None
    left, right = figure.axes
    # three of noise, whose intervals exclude 0, and one of signal
    tops = sorted(bar.get_extents().y1 for bar in left.patches)
    expected = left.transData.transform([[0, y] for y in (0.2, 0.2, 0.25, 0.25)])[:, 1]
    np.testing.assert_allclose(tops, expected)
    labels = [text.get_text() for text in right.texts]
    assert {"its own step", "the whole gradient", "batch × updates"} <= set(labels)
    assert draw(xr.Dataset()) is None
