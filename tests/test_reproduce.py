"""Figures of papers: how they are judged, stored, drawn again, and shown."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.reproduce import Claim, Estimate, Figure, Preset, judge
from rnnjax.reproduce.catalogue import experiments_folder, figures, find, names
from rnnjax.reproduce.gallery import PAGE, render
from rnnjax.reproduce.runner import redraw, reproduce, shelf_of
from rnnjax.reproduce.shelf import RECORD, RESULTS, Shelf


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
            "paper": Preset(Settings(5), "1 s", faithful=True),
        },
        "run": run,
        "draw": draw,
        "claims": (Claim("y reaches 2", lambda r: float(r.y.max()), "us", low=2.0),),
    }
    return Figure(**{**fields, **changes})


JUDGED = [
    (1.0, {}, "reduced scale", "reproduced"),
    (1.0, {"origin": "theory"}, "calibrated", "calibrated"),
    (2.1, {}, "contradicted", "contradicted"),
    (2.0, {}, "reduced scale", "reproduced"),
    (float("nan"), {}, "inconclusive", "inconclusive"),
    (Estimate(1.0, 0.5, 1.5), {}, "reduced scale", "reproduced"),
    (Estimate(1.0, 0.5, 2.5), {}, "inconclusive", "inconclusive"),
    (Estimate(3.0, 2.5, 3.5), {}, "contradicted", "contradicted"),
    (Estimate(1.0, float("nan"), 3.0), {}, "inconclusive", "inconclusive"),
    (1.0, {"presets": ("paper",)}, "not run", "reproduced"),
]


@pytest.mark.parametrize("number, fields, quick, paper", JUDGED)
def test_a_claim_is_judged(number, fields, quick, paper):
    claim = Claim("it is so", lambda r: number, "us", low=0.0, high=2.0, **fields)
    figure, nothing = sample(claims=(claim,)), xr.Dataset()
    assert judge(figure, "quick", nothing)[0].outcome == quick
    assert judge(figure, "paper", nothing)[0].outcome == paper


def test_results_are_stored_drawn_again_and_shown(tmp_path):
    figure = sample()
    record = reproduce(figure, "quick", tmp_path, tmp_path)
    shelf = shelf_of(figure, tmp_path)
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
    assert "**reduced scale** | y reaches 2 | 2 | ≥ 2" in page
    assert "Preset `paper` is not run; expected cost: 1 s." in page
    reproduce(figure, "paper", tmp_path, tmp_path)
    assert b"quick" not in shelf.file("paper", ".svg").read_bytes()


def test_what_is_missing_is_said(tmp_path):
    shelf = Shelf(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no results of preset quick"):
        redraw(sample(), "quick", shelf)
    shelf.write("paper", xr.Dataset())
    with pytest.raises(UserError, match="there are paper"):
        redraw(sample(), "quick", shelf)
    shelf.file("paper", RECORD).write_text('{"figure": 3}')
    with pytest.raises(UserError, match="no record of a figure"):
        redraw(sample(), "paper", shelf)
    with pytest.raises(UserError, match="did you mean quick"):
        redraw(sample(), "quik", shelf)


MISTAKES = [
    ("reproduce", ["name a figure"]),
    ("reproduce clif", ["clif", "did you mean cliff?"]),
    ("reproduce cliff --all", ["--all alone"]),
    ("reproduce cliff preset=quik", ["quik", "did you mean quick?"]),
    ("reproduce cliff prest=quick", ["prest", "did you mean preset?"]),
    ("reproduce cliff --from nowhere", ["nowhere", "no results"]),
    ("reproduce --all --from somewhere", ["one figure"]),
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
        for preset in figure.presets.values():
            assert isinstance(preset.settings.seeds, tuple) and preset.cost
    assert len({figure.place for figure in figures()}) == len(names())


RARE = {"adding", "chrono", "copying", "gradient_flossing", "gradient_norms"}
RARE |= {"accuracy_against_distance", "mingru_depth", "product_of_factors", "spectra"}
RARE |= {"share_and_influence", "temporal_order", "warping"}
"""Figures whose networks are dear to compile."""


def each_figure():
    mark = lambda name: pytest.mark.rare if name in RARE else ()
    return [pytest.param(name, marks=mark(name)) for name in names()]


@pytest.mark.parametrize("name", each_figure())
def test_a_figure_runs_and_redraws_to_the_same_bytes(name, tmp_path):
    figure = find(name)
    record = reproduce(figure, "test", tmp_path, tmp_path / "runs")
    judged = [v for v in record.verdicts if v.outcome != "not run"]
    assert judged
    for verdict in judged:
        assert verdict.outcome != "contradicted", verdict
    shelf = shelf_of(figure, tmp_path)
    pictures = [shelf.file("test", suffix) for suffix in (".png", ".svg")]
    before = [file.read_bytes() for file in pictures]
    redraw(figure, "test", shelf)
    assert [file.read_bytes() for file in pictures] == before


@pytest.mark.parametrize("name, preset", STORED)
def test_stored_verdicts_follow_from_stored_results(name, preset):
    figure, shelf = find(name), Shelf(GALLERY / name)
    record = shelf.record(preset)
    assert (record.figure, record.preset) == (name, preset)
    assert record.commit is not None
    settings = dataclasses.asdict(figure.presets[preset].settings)
    assert list(settings) == list(record.settings)
    judged = judge(figure, preset, shelf.results(preset))
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
