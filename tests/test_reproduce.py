"""Figures of papers: how they are judged, stored, drawn again, and shown."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.reproduce import (
    Claim,
    Estimate,
    Figure,
    Preset,
    Setting,
    judge,
    same,
)
from rnnjax.reproduce.catalogue import experiments_folder, figures, find, names
from rnnjax.reproduce.figure import compare
from rnnjax.reproduce.figure_files import RECORD, RESULTS, FigureFiles
from rnnjax.reproduce.gallery import PAGE, reasons_text, render
from rnnjax.reproduce.runner import figure_files, redraw, reproduce


GALLERY = experiments_folder() / "gallery"
STORED = [
    (folder.name, file.stem)
    for folder in sorted(GALLERY.iterdir())
    for file in sorted(folder.glob(f"*{RECORD}"))
    if file.stem != "test"
]


@dataclasses.dataclass(frozen=True)
class Settings:
    points: int = 3
    seeds: tuple[int, ...] = (0,)


POINTS = Setting("points", 5, lambda settings: settings.points, "Fig. 1", budget=True)
"""The paper preset has the paper's number, quick has fewer."""

UNKNOWN = Setting("colour", None, "blue")
MEMORY = same("size", 3, memory=True)
HARMLESS = Setting("paper", "white", "cream", harmless="it is paper alone")


def sample(**changes) -> Figure:
    """A figure that runs in no time."""

    def run(settings: Settings, pool: Path) -> xr.Dataset:
        values = np.arange(settings.points, dtype=np.float64)
        return xr.Dataset({"y": ("x", values), "gap": ((), np.nan)})

    def draw(results: xr.Dataset) -> Drawn:
        drawn = Drawn(figsize=(3, 2))
        drawn.add_axes((0.2, 0.2, 0.7, 0.6)).plot(results.y.to_numpy())
        return drawn

    fields = {
        "name": "sample",
        "place": "1",
        "title": "A sample",
        "source": "Nobody (1999), Fig. 1",
        "shows": "Nothing much.",
        "setup": "None.",
        "presets": {
            "quick": Preset(Settings(), "0 s"),
            "paper": Preset(Settings(5), "1 s"),
        },
        "run": run,
        "draw": draw,
        "claims": (Claim("y reaches 2", lambda r: float(r.y.max()), "us", low=2.0),),
        "settings": (POINTS,),
    }
    return Figure(**{**fields, **changes})


PAPER: dict[str, Any] = {"origin": "paper"}
JUDGED = [
    # inside: what the setting allows
    (1.0, PAPER, (POINTS,), "reduced scale", "reproduced"),
    (2.0, PAPER, (POINTS, HARMLESS), "reduced scale", "reproduced"),
    (1.0, {}, (POINTS,), "observed", "observed"),
    (1.0, {"origin": "pattern"}, (POINTS,), "reduced scale", "observed"),
    (1.0, {**PAPER, "unlearned": True}, (POINTS,), "not reached", "reproduced"),
    (1.0, PAPER, (POINTS, UNKNOWN), "reduced scale", "undetermined setting"),
    (1.0, PAPER, (POINTS, MEMORY), "reduced scale", "undetermined setting"),
    (
        1.0,
        {**PAPER, "settings": ("colour",)},
        (POINTS, UNKNOWN),
        *2 * ("undetermined setting",),
    ),
    (1.0, PAPER, (), "observed", "observed"),
    (1.0, {"origin": "theory"}, (POINTS,), "theory", "theory"),
    (1.0, {"presets": ("paper",)}, (POINTS,), "not run", "observed"),
    # outside
    (2.1, PAPER, (POINTS,), "not observed", "contradicted"),
    (2.1, {**PAPER, "learned": True}, (POINTS,), "not reached", "contradicted"),
    (2.1, {}, (POINTS,), "not observed", "not observed"),
    (2.1, PAPER, (POINTS, UNKNOWN), "not observed", "undetermined setting"),
    (2.1, PAPER, (), "not observed", "not observed"),
    (2.1, {"origin": "theory"}, (POINTS,), "contradicted", "contradicted"),
    # intervals
    (Estimate(1.0, 0.5, 1.5), PAPER, (POINTS,), "reduced scale", "reproduced"),
    (Estimate(3.0, 2.5, 3.5), PAPER, (POINTS,), "not observed", "contradicted"),
    (Estimate(1.0, 0.5, 2.5), PAPER, (POINTS,), "inconclusive", "inconclusive"),
    (Estimate(1.0, -np.inf, np.inf), PAPER, (POINTS,), "inconclusive", "inconclusive"),
    (Estimate(3.0, -np.inf, np.inf), PAPER, (POINTS,), "inconclusive", "inconclusive"),
    (2.0, {**PAPER, "strict": True}, (POINTS,), "not observed", "contradicted"),
    (1.9, {**PAPER, "strict": True}, (POINTS,), "reduced scale", "reproduced"),
    (np.nan, {**PAPER, "learned": True}, (POINTS,), "not reached", "inconclusive"),
    (Estimate(1.0, np.nan, 3.0), PAPER, (POINTS,), "inconclusive", "inconclusive"),
]


@pytest.mark.parametrize("number, fields, settings, quick, paper", JUDGED)
def test_a_claim_is_judged(number, fields: Any, settings, quick, paper):
    claim = Claim("it is so", lambda r: number, "us", low=0.0, high=2.0, **fields)
    figure, nothing = sample(claims=(claim,), settings=settings), xr.Dataset()
    assert judge(figure, "quick", nothing)[0].outcome == quick
    assert judge(figure, "paper", nothing)[0].outcome == paper


def test_a_verdict_names_what_holds_it_back():
    claim = Claim("it is so", lambda r: 1.0, "us", low=0.0, **PAPER)
    figure = sample(claims=(claim,), settings=(POINTS, UNKNOWN, MEMORY, HARMLESS))
    verdict = judge(figure, "quick", xr.Dataset())[0]
    assert verdict.differs == ("points",) and verdict.holds == "yes"
    assert verdict.unknown == ("colour", "size")
    assert reasons_text(verdict) == (
        "differs in points; not stated or from memory: colour, size"
    )


def test_results_are_stored_drawn_again_and_shown(tmp_path):
    figure = sample()
    record = reproduce(figure, "quick", tmp_path, tmp_path)
    shelf = figure_files(figure, tmp_path)
    assert shelf.record("quick") == record
    assert record.settings == {"points": 3, "seeds": [0]}
    assert record.verdicts[0].value == 2.0
    assert {"python", "jax"} <= set(record.versions)
    pictures = [shelf.file("quick", suffix) for suffix in (".png", ".svg")]
    before = [file.read_bytes() for file in pictures]
    for file in pictures:
        file.unlink()
    assert redraw(figure, "quick", shelf) == record
    assert [file.read_bytes() for file in pictures] == before
    # quick is not the paper, and the figure says so
    assert b"A sample \xc2\xb7 quick" in before[1]
    page = render([figure], tmp_path)
    assert "gallery/sample/quick.png" in page
    assert "**observed** (differs in points) | yes | y reaches 2 | 2 | ≥ 2" in page
    assert "| points | 5 | 3 | no | Fig. 1 |" in page
    assert "Preset `paper` is not run; expected cost: 1 s." in page
    with pytest.raises(UserError, match="holds the figure 'sample', not 'other'"):
        redraw(sample(name="other"), "quick", shelf)
    changed = sample(presets={"quick": Preset(Settings(4), "0 s")})
    with pytest.raises(UserError, match="points = 3, the preset has 4 now; run"):
        redraw(changed, "quick", shelf)
    reproduce(figure, "paper", tmp_path, tmp_path)
    assert b"quick" not in shelf.file("paper", ".svg").read_bytes()


def test_a_figure_that_is_continued_says_so(tmp_path):
    figure, pool = sample(), tmp_path / "runs"
    assert not reproduce(figure, "quick", tmp_path, pool).continued
    assert "earlier processes" not in render([figure], tmp_path)
    (pool / "sample" / "quick").mkdir(parents=True)
    assert reproduce(figure, "quick", tmp_path, pool).continued
    assert "processor time, and that of earlier processes)" in render(
        [figure], tmp_path
    )


def test_what_is_missing_is_said(tmp_path):
    shelf = FigureFiles(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no results of preset quick"):
        redraw(sample(), "quick", shelf)
    shelf.write("paper", xr.Dataset())
    with pytest.raises(UserError, match="there are paper"):
        redraw(sample(), "quick", shelf)
    shelf.file("paper", RECORD).write_text('{"figure": 3}')
    with pytest.raises(UserError, match="no record of a figure"):
        redraw(sample(), "paper", shelf)
    shelf.file("paper", RECORD).unlink()
    shelf.file("paper", RESULTS).write_bytes(b"\x89HDF\r\n")
    with pytest.raises(UserError, match="no file of results, or damaged"):
        redraw(sample(), "paper", shelf)
    with pytest.raises(UserError, match="did you mean quick"):
        redraw(sample(), "quik", shelf)


@pytest.mark.parametrize("suffix", [RESULTS, RECORD])
def test_one_changed_letter_is_seen(tmp_path, suffix):
    """HDF5 may read on for ever in what is damaged, so the bytes are compared first."""
    figure = sample()
    reproduce(figure, "quick", tmp_path, tmp_path)
    shelf = figure_files(figure, tmp_path)
    file = shelf.file("quick", suffix)
    content = file.read_bytes()
    for at in range(0, len(content), len(content) // 20):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(UserError, match=re.escape(f"'{file}' is no")):
            redraw(figure, "quick", shelf)
    file.write_bytes(content)
    redraw(figure, "quick", shelf)


MISTAKES = [
    ("reproduce", ["name a figure"]),
    ("reproduce clif", ["clif", "did you mean cliff?"]),
    ("reproduce cliff --all", ["only --all"]),
    ("reproduce cliff preset=quik", ["quik", "did you mean quick?"]),
    ("reproduce cliff prest=quick", ["prest", "did you mean preset?"]),
    ("reproduce cliff --redraw nowhere", ["nowhere", "no results"]),
    ("reproduce --all --redraw somewhere", ["one figure"]),
]


@pytest.mark.parametrize("words, said", MISTAKES)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(part in error for part in said)
    assert list(tmp_path.iterdir()) == []


def test_every_figure_says_what_it_is():
    for figure in figures():
        assert figure.name in names()
        assert {"quick", "paper", "test"} == set(figure.presets)
        assert figure.claims and figure.source and figure.shows and figure.setup
        for claim in figure.claims:
            assert claim.low <= claim.high and claim.source
            assert np.isfinite(claim.low) or np.isfinite(claim.high)
            # what the paper sets is compared with the paper's own setting
            assert claim.origin != "paper" or figure.settings, claim.sentence
            assert set(claim.settings or ()) <= {line.name for line in figure.settings}
        for line in figure.settings:
            assert line.source or line.memory or line.paper is None, line.name
        for preset in figure.presets.values():
            assert isinstance(preset.settings.seeds, tuple) and preset.cost
    assert len({figure.place for figure in figures()}) == len(names())


RARE = {"adding", "chrono", "copying", "gradient_flossing", "gradient_norms"}
RARE |= {"accuracy_against_distance", "mingru_depth", "product_of_factors", "spectra"}
RARE |= {"retrial", "share_and_influence", "signal_and_noise", "slopes"}
RARE |= {"temporal_order", "warping"}
"""Figures whose networks are dear to compile."""


def each_figure():
    mark = lambda name: pytest.mark.slow if name in RARE else ()
    return [pytest.param(name, marks=mark(name)) for name in names()]


PADDED = {"both", "slope", "weight", "curve", "spectrum", "error"}
"""Arrays of several lengths in one, with NaN at their ends; errors without training."""


def finite(results: xr.Dataset) -> None:
    """Every number is one."""
    for name, array in results.data_vars.items():
        if array.dtype.kind == "f" and name not in PADDED:
            assert np.isfinite(array).all(), name


def slopes_keep_their_bounds(results: xr.Dataset) -> None:
    assert (results.rms <= results.bound * (1 + 1e-6)).all()
    relu = results.sel(activation="relu")
    assert np.abs(relu["mean"] - relu.active).max() < 1e-5
    assert (results.active.sel(activation="leaky_relu") == 1).all()


def shares_sum_to_one(results: xr.Dataset) -> None:
    assert np.abs(results.share.sum("time") - 1).max() < 1e-3


def a_sigmoid_guesses(results: xr.Dataset) -> None:
    """Untrained, nothing of the first word is left over 16 words."""
    assert np.abs(results.curve.sel(network="sigmoid").isel(look=0) - 0.5).max() < 0.1


def one_symbol_at_most(results: xr.Dataset) -> None:
    """Untrained temporal order: small weights forget."""
    assert results.curve.isel(look=0).max() < 0.55


def what_is_needed_is_ordered(results: xr.Dataset) -> None:
    """There is no more noise along the signal than in all directions together."""
    measured = results.measured
    assert not np.isnan(measured).any() and (results.updates > 0).all()
    update = measured.sel(quantity="update")
    assert np.isfinite(update).any()
    assert (measured.sel(quantity="projected") <= update + 0.05).all()
    assert (measured.sel(quantity="coherence") <= 1 + 1e-3).all()


CHECKS = {
    "slopes": slopes_keep_their_bounds,
    "share_and_influence": shares_sum_to_one,
    "accuracy_against_distance": a_sigmoid_guesses,
    "temporal_order": one_symbol_at_most,
    "retrial": what_is_needed_is_ordered,
}
"""What holds by definition, or of untrained networks: no claim, but to be true."""


@pytest.mark.parametrize("name", each_figure())
def test_a_figure_runs_and_redraws_to_the_same_bytes(name, tmp_path):
    figure = find(name)
    record = reproduce(figure, "test", tmp_path, tmp_path / "runs")
    for verdict in record.verdicts:
        assert verdict.outcome != "contradicted", verdict
    shelf = figure_files(figure, tmp_path)
    CHECKS.get(name, finite)(shelf.results("test"))
    pictures = [shelf.file("test", suffix) for suffix in (".png", ".svg")]
    before = [file.read_bytes() for file in pictures]
    redraw(figure, "test", shelf)
    assert [file.read_bytes() for file in pictures] == before


@pytest.mark.parametrize("name, preset", STORED)
def test_stored_verdicts_follow_from_stored_results(name, preset):
    figure, shelf = find(name), FigureFiles(GALLERY / name)
    record = shelf.record(preset)
    assert (record.figure, record.preset) == (name, preset)
    assert record.commit is not None
    judged = judge(figure, preset, shelf.results(preset))
    reproduced = [v for v in judged if v.outcome == "reproduced"]
    assert not reproduced or record.compared
    assert record.compared == compare(figure.settings, figure.presets[preset].settings)
    for now, then in zip(judged, record.verdicts, strict=True):
        assert (now.sentence, now.bounds) == (then.sentence, then.bounds)
        assert now.outcome == then.outcome
        if now.value is not None:
            assert now.value == pytest.approx(then.value, rel=1e-6, nan_ok=True)
    assert shelf.file(preset, ".png").is_file()
    for suffix in (RESULTS, ".png"):
        assert shelf.file(preset, suffix).stat().st_size < 600_000


def test_the_gallery_holds_what_is_on_disk():
    written = (experiments_folder() / PAGE).read_text(encoding="utf-8")
    assert written == render(figures(), experiments_folder())


@pytest.mark.parametrize("heading", ["# Figures of papers, drawn anew", "# My thesis"])
def test_redrawing_writes_the_page_of_the_gallery(tmp_path, heading):
    folder = shutil.copytree(GALLERY / "cliff", tmp_path / "gallery" / "cliff")
    page = tmp_path / "README.md"
    page.write_text(f"{heading}\nold\n")
    assert main(["reproduce", "cliff", "--redraw", str(folder)]) == 0
    ours = heading.startswith("# Figures")
    assert ("gallery/cliff/quick.png" in page.read_text()) == ours
    assert page.read_text().endswith("old\n") != ours
