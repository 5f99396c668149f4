"""Figures and sentences of one probe data set: they follow the numbers."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from rnnjax.probes.adjoints.decay import decay
from rnnjax.report.explosion import explosion
from rnnjax.report.instruments.adjoints import slope
from rnnjax.report.instruments.numbers import arrays, band
from rnnjax.report.instruments.tokens import COLUMNS, columns
from rnnjax.report.probe_figures import INSTRUMENTS
from rnnjax.report.probe_page import write_page
from rnnjax.report.probe_summary import summary
from tests.report_samples import probes_of


T, B, MODES = 24, 5, 3
SAY = {one.name: one.say for one in INSTRUMENTS}
DRAW = {one.name: one.draw for one in INSTRUMENTS}


def made(rate: float = -0.5, layers: tuple[str, ...] = ("layer0",)) -> xr.Dataset:
    """A data set as `rnnjax probe` writes it: the adjoint falls by `rate` per lag."""
    rng = np.random.default_rng(0)
    each, lags = len(layers), T - 1 - np.arange(T)
    adjoint = rate * lags[:, None] + 0.05 * rng.standard_normal((T, B))
    every = np.broadcast_to(adjoint, (each, 3, T, B)).copy()
    positive = lambda *shape: rng.uniform(0.1, 1.0, shape)
    values: dict[str, Any] = {
        "loss": ((), 0.7),
        "length": (("example",), np.full(B, T)),
        "last_step": (("example",), np.full(B, T - 1)),
        "log10_adjoint": (("layer", "array", "time", "example"), every),
        "decay": (("layer", "array", "example"), np.full((each, 3, B), rate)),
        "effective_rank": (("layer", "lag"), 1 + positive(each, T)),
        "log10_slope_product": (
            ("layer", "time", "example"),
            np.broadcast_to(0.8 * adjoint, (each, T, B)),
        ),
        "log10_weight_product": (
            ("layer", "time", "example"),
            np.broadcast_to(0.2 * adjoint, (each, T, B)),
        ),
        "log10_direct_share": (
            ("layer", "time", "example"),
            np.broadcast_to(-0.1 * lags[:, None], (each, T, B)),
        ),
        "slope_mean": (("layer", "activation"), np.full((each, 2), 0.2)),
        "slope_bound": (("layer", "activation"), np.full((each, 2), 0.25)),
        "slope_saturated": (("layer", "activation"), np.full((each, 2), 0.125)),
        "slope_active": (("layer", "activation"), np.ones((each, 2))),
        "slope_count": (
            ("layer", "activation", "bin"),
            rng.integers(1, 9, (each, 2, 6)),
        ),
        "slope_edge": (
            ("layer", "activation", "edge"),
            np.broadcast_to(np.linspace(0, 0.25, 7), (each, 2, 7)),
        ),
        "gate_open": (("layer", "gate"), np.full((each, 2), 0.75)),
        "gate_open_at": (("layer", "gate", "time"), positive(each, 2, T)),
        "time_constant": (("layer", "gate", "unit"), 3 * positive(each, 2, 4)),
        "time_constant_shut": (("layer", "gate", "unit"), positive(each, 2, 4)),
        "singular_value": (
            ("layer", "step", "sentence", "mode"),
            positive(each, 4, 2, MODES),
        ),
        "spectral_norm": (("layer", "step", "sentence"), positive(each, 4, 2)),
        "spectral_radius": (("layer", "step", "sentence"), positive(each, 4, 2)),
        "log_sigma": (
            ("layer", "lag_probed", "mode"),
            -np.arange(4)[:, None] * positive(each, 1, MODES),
        ),
        "worst_case_rate": (("layer", "sentence"), np.full((each, 2), 0.2)),
        "typical_rate": (("layer", "sentence"), np.full((each, 2), -0.3)),
        "lyapunov": (
            ("layer", "exponent"),
            np.broadcast_to([-0.1, -0.5, -2.0], (each, MODES)).copy(),
        ),
        "lyapunov_error": (("layer", "exponent"), np.full((each, MODES), 0.01)),
        "kaplan_yorke": (("layer",), np.zeros(each)),
        "log10_contribution": (
            ("parameter", "time"),
            np.stack([adjoint[:, 0], adjoint[:, 1] - 1]),
        ),
        "k90": (("parameter",), np.array([3, 7])),
        "log10_gradient": (("parameter",), np.array([-1.5, -2.0])),
        "cancellation": (("parameter",), np.array([0.25, 0.5])),
        "signal_to_noise": (("parameter", "lag"), positive(2, T)),
        "truncation_bias": (
            ("cut_lag", "parameter_array"),
            np.array([[0.9, 0.5, 0.9], [0.1, 0.5, 0.1], [1e-3] * 3, [0.0] * 3]),
        ),
        "update_ratio": (("parameter_array",), np.array([0.01, np.inf, 0.02])),
        "gradient_norm": (("parameter_array",), np.array([3.0, 1.0, 2.0])),
        "used_norm": (("parameter_array",), np.array([1.0, 0.3, 0.6])),
        "sensitivity": (("parameter_array",), np.array([5.0, 1.0, 4.0])),
        "word_share": (("time", "sentence"), positive(T, 2) / T),
        "influence_distance": (("time", "sentence"), 0.1 * positive(T, 2)),
        "log10_saliency": (("time", "sentence"), np.log10(positive(T, 2))),
        "decodability": (("time",), np.linspace(1.0, 0.25, T)),
        "informative": (
            ("time", "sentence"),
            (np.arange(T)[:, None] == [2, 3]).astype(np.int8),
        ),
        "word": (("time", "sentence"), np.full((T, 2), "word", object)),
    }
    data = xr.Dataset()
    for name, (dims, array) in values.items():
        data[name] = (dims, array, {"definition": f"what {name} is", "units": "1"})
    data["decodability"].attrs["step"] = 2
    return data.assign_coords(
        layer=list(layers),
        array=["joint", "h", "c"],
        activation=["forget", "memory"],
        gate=["forget", "input"],
        parameter=["embedding", "layer0/U"],
        parameter_array=["all", "layer0/U", "layer0/V"],
        cut_lag=[0, 4, 8, T],
        step=[0, 8, 16, 23],
        lag_probed=[0, 8, 16, 24],
    )


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return made()


ELSEWHERE = {
    "gradient_over_training",
    "signal",
    "interventions",
    "interventions_by_step",
}
ALONE = sorted(set(DRAW) - ELSEWHERE)
"""Those that the data set of this module has; see also `test_report_signal`
and `test_report_interventions`."""


@pytest.mark.parametrize("name", ALONE)
def test_draws_what_is_there_and_nothing_else(name: str, data: xr.Dataset) -> None:
    draw = DRAW[name]
    assert isinstance(draw(data), Figure)
    assert draw(data[["loss"]]) is None
    assert draw(data[["length", "last_step"]]) is None
    assert SAY[name](data)


def test_gradient_over_training_needs_measurements() -> None:
    probes = probes_of((-0.6, -0.1), [9, 9, 4, 2], steps=(0, 10, 50))
    figure = DRAW["gradient_over_training"](probes)
    assert figure is not None
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ticks == ["0", "10", "50"]
    assert DRAW["gradient_over_training"](probes.isel(train_step=[0])) is None
    assert DRAW["gradient_over_training"](made()) is None
    (said,) = SAY["gradient_over_training"](probes)
    assert "after 0 updates" in said and "after 50" in said


def test_a_runs_probes_are_drawn_at_the_last_measurement() -> None:
    probes = probes_of((-0.6, -0.1), [30, 30, 30, 12], steps=(0, 10))
    shares = abs(probes["word_share"]).sum("sentence")
    probes["log10_contribution"] = np.log10(shares)
    layer = str(probes["layer"].to_numpy()[0])
    fits = [slope(probes.isel(train_step=i), layer, "joint") for i in (0, 1)]
    assert fits == pytest.approx([-0.6, -0.1], abs=0.02)
    (said,) = SAY["gradient_against_lag"](probes)
    assert "an exponential (−0.09" in said or "an exponential (−0.10" in said
    assert DRAW["gradient_against_lag"](probes) is not None
    assert DRAW["contributions"](probes) is not None
    assert DRAW["word_strip"](probes) is not None


def texts(figure: Figure) -> str:
    return " | ".join(t.get_text() for axes in figure.axes for t in axes.texts)


def test_the_slope_is_written_and_follows_the_data() -> None:
    for rate, written in ((-0.5, "−0.500"), (0.25, "0.250")):
        figure = DRAW["gradient_against_lag"](made(rate))
        assert figure is not None
        assert f"joint  {written}" in texts(figure)


def test_a_single_state_array_is_not_drawn_twice() -> None:
    data = made().isel(array=[0, 1])
    assert arrays(data, "layer0") == ["h"]
    assert arrays(made(), "layer0") == ["joint", "h", "c"]
    missing = made()
    missing["log10_adjoint"][:, 2] = np.nan  # a layer without this array
    assert arrays(missing, "layer0") == ["h"]


def test_exact_zeros_are_marked_and_told() -> None:
    data = made()
    assert "exactly zero" not in SAY["gradient_against_lag"](data)[0]
    data["log10_adjoint"][:, :, :6, :2] = -np.inf
    assert "exactly zero at some lag in 40 %" in SAY["gradient_against_lag"](data)[0]
    assert DRAW["gradient_against_lag"](data) is not None
    data["log10_adjoint"][:, :, : T - 1] = -np.inf
    (said,) = SAY["gradient_against_lag"](data)
    assert f"vanishes: at lag {T - 1} it is exactly zero in all examples" in said
    assert "horizon 1 step" in said
    data["log10_adjoint"][:] = -np.inf
    (said,) = SAY["gradient_against_lag"](data)
    assert said == "layer0: the gradient is exactly zero near the loss."


def test_bands_keep_zeros_and_leave_padding_out() -> None:
    found = band(np.array([[-np.inf, 1.0, 2.0, np.nan], [np.nan] * 4]))
    assert found.low.tolist()[0] == -np.inf and found.high.tolist()[0] == 2.0
    assert found.median.tolist()[0] == 1.0 and np.isnan(found.median[1])


def test_short_examples_are_fitted_on_the_median_curve() -> None:
    data = made().isel(time=slice(T - 4, T))
    data["last_step"][:] = 3
    data["decay"][:] = np.nan
    assert slope(data, "layer0", "joint") == pytest.approx(-0.5, abs=0.15)
    assert np.isnan(decay(np.array([0.0, np.nan])).slope)


@pytest.mark.parametrize(
    ("rate", "verb"),
    [(-0.5, "vanishes"), (-0.001, "stays"), (0.5, "explodes"), (-0.08, "shrinks")],
)
def test_the_verdict_follows_the_slope(rate: float, verb: str) -> None:
    data = made(rate)
    (said,) = SAY["gradient_against_lag"](data)
    assert said.startswith(f"layer0: {verb}")
    assert f": at lag {T - 1} log₁₀‖λ‖/‖λ_s‖ is " in said
    assert ("horizon 7 steps" if rate == -0.5 else f"the {T - 1} lags") in said
    law = "too noisy lags to name a law" if abs(rate) < 0.01 else "an exponential"
    assert law in said


@pytest.mark.parametrize(
    ("rate", "jump", "verb"),
    [(0.02, 2.5, "falls near the loss"), (-0.02, -3.0, "stays within")],
)
def test_a_slope_that_turns_is_said_to_turn(
    rate: float, jump: float, verb: str
) -> None:
    data = made(rate)
    lag = data["last_step"] - xr.DataArray(np.arange(T), dims="time")
    data["log10_adjoint"] = data["log10_adjoint"] + jump * (lag == 0)
    assert SAY["gradient_against_lag"](data)[0].startswith(f"layer0: {verb}")


def test_lyapunov_words_follow_sign_error_and_losses() -> None:
    data = made()
    assert "come together" in SAY["lyapunov"](data)[0]
    data["lyapunov"][:, 0] = 0.3
    assert "nearby states part" in SAY["lyapunov"](data)[0]
    data["lyapunov"][:, 0] = 0.015
    assert "within two standard errors" in SAY["lyapunov"](data)[0]
    data["lyapunov_error"][:] = np.nan
    assert "too short for an error" in SAY["lyapunov"](data)[0]
    data["lyapunov"][:, 2] = -np.inf
    (said,) = SAY["lyapunov"](data)
    assert "1 of 3 are −∞" in said
    figure = DRAW["lyapunov"](data)
    assert figure is not None and "1 of 3 are −∞" in texts(figure)


def test_lost_directions_of_a_product_are_counted() -> None:
    data = made()
    assert "none is exactly 0" in SAY["propagator_spectrum"](data)[0]
    data["log_sigma"][:, 2:, 1:] = -np.inf
    assert "2 of 3 directions are lost" in SAY["propagator_spectrum"](data)[0]
    assert DRAW["propagator_spectrum"](data) is not None
    data["log_sigma"][:, 1:] = -np.inf
    assert "3 of 3" in SAY["propagator_spectrum"](data)[0]
    assert DRAW["propagator_spectrum"](data) is not None


def test_infinite_time_constants_are_noted() -> None:
    data = made()
    data["time_constant"][0, 0, :2] = np.inf
    figure = DRAW["gates"](data)
    assert figure is not None and "2 × ∞" in texts(figure)


def test_two_factors_name_the_greater_half() -> None:
    data = made()
    assert "due to the slopes" in SAY["two_factors"](data)[0]
    data["log10_weight_product"] = 8 * data["log10_weight_product"]
    assert "due to the weights" in SAY["two_factors"](data)[0]


def test_truncation_names_the_first_cut_that_hardly_matters() -> None:
    data = made()
    assert "from lag 8 on" in SAY["truncation"](data)[1]
    data["truncation_bias"][2] = 0.5
    assert "No cut that was tried is wrong by less" in SAY["truncation"](data)[1]
    assert "is clipped to 1.00" in " ".join(SAY["updates"](data))


def test_layers_that_lack_an_activation_leave_no_panel() -> None:
    data = made(layers=("layer0", "layer1"))
    for name in ("slope_mean", "slope_count", "slope_edge", "slope_bound"):
        data[name] = data[name].astype(float)
        data[name][1, 1] = np.nan
    data["gate_open"][1] = np.nan
    figure = DRAW["slopes"](data)
    assert figure is not None
    assert len([axes for axes in figure.axes if axes.axison]) == 3
    gates = DRAW["gates"](data)
    assert gates is not None and len(gates.axes) == 2


def test_long_sentences_keep_the_ends_and_what_is_marked() -> None:
    kept = columns(50, [20])
    assert len(kept) == COLUMNS and {0, 1, 19, 20, 21, 49} <= set(kept)
    assert kept.count(-1) == 2 and kept[-1] == 49
    assert len(columns(500, list(range(10, 400, 20)))) <= COLUMNS


def test_the_words_named_are_those_with_the_largest_values() -> None:
    data = made()
    data["word_share"][7, 0] = 0.99
    data["word"][7, 0] = "terrible"
    said = SAY["word_strip"](data)[0]
    assert "“terrible” (step 7): 0.99" in said and "marked “word” (step 2)" in said


def test_the_summary_follows_the_data(data: xr.Dataset) -> None:
    rows = {row.quantity: row.value for row in summary(data)}
    assert rows[f"layer0: log₁₀‖λ‖/‖λ_s‖ at lag {T - 1}"] == "−11.5"
    rate = float(rows[f"layer0: adjoint rate over {T - 1} lags (nats per step)"][1:])
    assert rate == pytest.approx(0.5 * np.log(10), abs=0.02)
    assert rows["layer0: law of the decay"].startswith("exponential, −0.5")
    assert rows["layer0: memory horizon, first lag with less than 1/1000 left"] == "7"
    worst = "layer0: worst case: any direction, ln σ₁(P)/T (nats per step), 2 sentences"
    assert rows[worst] == "0.200"
    assert (
        rows["layer0: typical growth, ln(‖P‖_F/√N)/T (nats per step), 2 sentences"]
        == "−0.300"
    )
    name = "layer0: λ₁ on stationary input, ± standard error (nats per step)"
    assert rows[name] == "−0.1000 ± 0.0100"
    assert rows["layer0: slope of forget"] == "mean 0.200, bound 0.25, 12 % saturated"
    assert rows[f"layer0: direct share at lag {T - 1} (log₁₀)"] == "−2.30"
    ends = "k₉₀ 7, |ΣG_t|/Σ|G_t| 0.50, zero before its update"
    assert rows["layer0/U"].endswith(ends)
    rows = {row.quantity: row.value for row in summary(made(-0.1))}
    assert (
        rows["layer0: memory horizon, first lag with less than 1/1000 left"]
        == f"> {T - 1}"
    )
    assert [row.quantity for row in summary(data[["loss"]])] == ["loss"]


class Checker(HTMLParser):
    """Elements still open, all ids, and references to them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.wanted: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href") and (value or "").startswith("#"):
                self.wanted.add((value or "")[1:])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_offline_and_the_same_when_redrawn(
    data: xr.Dataset, tmp_path: Path
) -> None:
    page = write_page(data, tmp_path, "LSTM <untrained>", "task.length=24")
    first = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    text = page.read_text()
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert "LSTM &lt;untrained&gt;" in text
    assert {p.parent.name for p in first if p.suffix != ".html"} == {"figures"}
    links = set(re.findall(r'(?:href|src)="([^"#][^"]*)"', text))
    assert {link for link in links if not link.startswith("data:image/png")} == {
        f"figures/{name}.svg" for name in ALONE
    }
    for name in data.data_vars:
        assert f"what {name} is" in text
    checker = Checker()
    checker.feed(text)
    assert not checker.open and len(set(checker.ids)) == len(checker.ids)
    assert checker.wanted <= set(checker.ids)
    # figures that the data no longer has go
    (tmp_path / "figures" / "gradient_over_training.svg").write_bytes(b"old")
    assert write_page(data, tmp_path, "LSTM <untrained>", "task.length=24") == page
    again = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert again == first


def test_a_page_of_little(tmp_path: Path) -> None:
    page = write_page(made()[["loss"]], tmp_path, "t", "s").read_text()
    assert "nothing that could be drawn" in page and "what loss is" in page


def exploded_in(lost: list[int], step: int = 9) -> xr.Dataset:
    """`made` with states that explode at a step in these examples."""
    data = made()
    first = np.full((1, 3, B), np.nan)
    first[:, :2, lost] = step
    data["first_nonfinite_step"] = ("layer", "array", "example"), first
    for name in ("log10_adjoint", "decay"):
        data[name][..., lost] = np.nan
    if 0 in lost:
        data["log_sigma"][:, 1:] = np.nan
    return data


def test_what_exploded_is_told_and_never_said_to_vanish(tmp_path: Path) -> None:
    every = list(range(B))
    data = exploded_in(every)
    for name in (
        *("loss", "k90", "log10_gradient"),
        *("lyapunov", "lyapunov_error", "kaplan_yorke"),
    ):
        data[name] = data[name] * np.nan
    table = {row.quantity: row.value for row in summary(data)}
    assert table["loss"] == "NaN: not a number"
    where = "the state h is infinite or NaN from step 9 on in 5 of 5 examples"
    assert where in table["layer0: exploded"]
    assert table["layer0/U"].startswith("gradient not a number (NaN)")
    assert not any("horizon" in name or "λ₁" in name for name in table)
    page = write_page(data, tmp_path, "title", "subtitle").read_text(encoding="utf-8")
    assert f"layer0 exploded: {where}" in page and "The loss is not a number" in page
    assert "layer0: vanishes" not in page and "every direction is lost" not in page
    assert SAY["propagator_spectrum"](data) == [
        "layer0: no product of Jacobians is a number."
    ]


def test_the_rest_of_a_batch_is_told_apart_from_what_exploded() -> None:
    data = exploded_in([0, 2], step=9)
    data["first_nonfinite_step"][:, :2, 2] = 12
    (told,) = explosion(data)
    assert "from a step between 9 and 12 on in 2 of 5 examples" in told
    assert told.endswith("the numbers are of the other 3.")
    (said,) = SAY["gradient_against_lag"](data)
    assert said.startswith("layer0 (3 of 5 examples, the others explode): vanishes")
    assert explosion(made()) == []


def test_a_gradient_that_alone_overflows_is_told() -> None:
    data = exploded_in([1])
    data["first_nonfinite_step"] = data["first_nonfinite_step"] * np.nan
    (told,) = explosion(data)
    assert "not a finite number in 1 of 5 examples: all states are finite" in told
    (told,) = explosion(data.drop_vars("first_nonfinite_step"))
    assert "in 1 of 5 examples: the network exploded" in told
    data["loss"] = np.inf
    assert explosion(data)[0].startswith("The loss is infinite")


def test_a_run_whose_first_measurement_exploded_is_drawn_from_the_rest() -> None:
    probes = probes_of((-0.5, -0.1), [T] * 4)
    probes["log10_adjoint"][0] = np.nan
    assert DRAW["gradient_over_training"](probes) is not None
    (said,) = SAY["gradient_over_training"](probes)
    assert "after 100 updates" in said
    probes["log10_adjoint"][-1] = np.nan
    assert DRAW["gradient_against_lag"](probes) is None
    assert SAY["gradient_against_lag"](probes) == []
