"""What a probe's page says and draws of interventions, and their section."""

import numpy as np
import pytest
import xarray as xr

from rnnjax.analysis.configured_run import ALL_SECTIONS, RUN_SECTIONS, analyze_run
from rnnjax.report.instruments.interventions import (
    interventions,
    interventions_by_step,
    sizes,
)
from rnnjax.report.probe_summary import summary
from rnnjax.report.probe_text_interventions import by_step
from rnnjax.report.probe_text_interventions import interventions as say
from rnnjax.training.build import initial_params
from rnnjax.training.config import ModelConfig
from tests.training_samples import tiny


T, N = 6, 4
ARRAYS = ["joint", "c", "h"]


def made() -> xr.Dataset:
    """Effects are predictions times 2, but for zeros, and one unit of h that is not."""
    said = np.full((1, 3, T, N), np.nan)
    said[0, 1:] = 10.0 ** -np.arange(2 * T * N).reshape(2, T, N)[:, ::-1]
    effect = 2 * said
    effect[0, 1, -1] = 0.0  # c after the last step is read by nothing
    effect[0, 2, :, 0] = effect[0, 2, ::-1, 0]
    whole = np.array([4.0, 1.0, 2.0])[None, :, None] * np.ones((1, 3, T))
    whole[0, :, 2] = 8.0, 3.0, 5.0
    dims = ("layer", "array", "time", "unit")
    return xr.Dataset(
        {
            "effect_loss_abs": (dims, effect),
            "effect_loss_predicted_abs": (dims, said),
            "whole_effect_loss_abs": (dims[:3], whole),
            "whole_effect_loss_predicted_abs": (dims[:3], whole / 1000),
            "effect_rounding": (dims[:1], [1e-60]),
        },
        {"layer": ["layer0"], "array": ARRAYS, "time": np.arange(T)},
    )


def test_the_sentences_follow_from_the_numbers() -> None:
    c, h = say(made())
    assert c == (
        "layer0, c: rank correlation of effect and prediction 1.00 over steps and "
        "units, median ratio 2.0; 4 of 24 changes have no effect above rounding "
        "(1e−60)."
    )
    assert "layer0, h: rank correlation of effect and prediction 0." in h
    assert "no effect" not in h
    data = made()
    data["effect_rounding"][:] = 1e-20  # c: 10⁻²³ to 1, h: smaller
    c, h = say(data)
    assert "; 7 of 24 changes have no effect above rounding (1e−20)" in c
    assert h.startswith("layer0, h: no rank correlation") and "; 24 of 24" in h
    joint, *_ = by_step(made())
    later = by_step(made().assign_coords(time=10 * np.arange(T)))
    assert "changes most after step 20, by" in later[0]
    assert joint == (
        "layer0, joint: the loss changes most after step 2, by 8.0 (predicted: "
        "0.0080); half of that or more after 6 of 6 steps."
    )
    assert say(xr.Dataset()) == by_step(xr.Dataset()) == []


def test_the_figures_show_the_numbers() -> None:
    figure = interventions(made())
    assert figure is not None
    shown = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(shown) == 6  # c and h; joint has no units
    effect, said, against = shown[:3]
    (image,) = effect.get_images()
    colours = image.get_array()
    assert colours is not None and colours.shape == (N, T, 4)
    # the last step has no effect, in grey; of the prediction it has a colour
    grey = colours[:, -1, :3]
    assert np.allclose(grey, grey[0]) and np.ptp(grey[0]) < 0.06
    (other,) = said.get_images()
    assert not np.allclose(other.get_array()[:, -1], colours[:, -1])  # pyright: ignore
    line, units, whole = against.get_lines()
    x, y = (np.asarray(data) for data in units.get_data())
    assert len(x) == (T - 1) * N
    np.testing.assert_allclose(y - x, np.log10(2.0))
    assert len(whole.get_xdata()) == T  # pyright: ignore
    curves = interventions_by_step(made())
    assert curves is not None
    texts = [text.get_text() for text in curves.axes[0].texts]
    assert {"joint", "c", "h", "joint, predicted"} <= set(texts)
    assert interventions(xr.Dataset()) is None
    assert interventions_by_step(xr.Dataset()) is None


def test_nothing_is_drawn_of_an_exploded_network() -> None:
    data = made() * np.nan
    assert interventions(data) is None and interventions_by_step(data) is None
    some = made()
    some["effect_loss_abs"][:] = 0.0
    assert interventions(some) is not None
    one = sizes(some, "layer0", "c")
    assert one is not None and np.isnan(one.agreement) and np.isnan(one.ratio)


@pytest.fixture(scope="module")
def section() -> xr.Dataset:
    sizes = ModelConfig(hidden=5, embedding=3)
    config = tiny(cell="lstm", model=sizes)
    return analyze_run(config, initial_params(config), ["interventions"])


def test_a_section_of_the_probe(section: xr.Dataset) -> None:
    """Effects beside the adjoints, on the same layers and arrays."""
    assert "interventions" in ALL_SECTIONS and "interventions" not in RUN_SECTIONS
    assert section.layer.values.tolist() == ["layer0"]
    assert section.array.values.tolist() == ["joint", "h", "c"]
    effect = section["effect_loss_abs"].sel(array=["h", "c"])
    assert effect.notnull().all() and float(effect.max()) > 0
    # the answer is read from h alone
    last = section.sel(layer="layer0", array="c", time=section.sizes["time"] - 1)
    assert float(last["effect_loss_abs"].max()) == 0
    for name in ("effect_loss_abs", "effect_output"):
        assert section[name].attrs["how"] == "mean"
    assert "effect_loss_example" not in section
    assert any(row.quantity == "loss" for row in summary(section))
    assert interventions(section) is not None
