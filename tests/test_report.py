"""The report of a sweep: one page, its figures, the same bytes each time."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from rnnjax.errors import UserError
from rnnjax.report import build, summary
from rnnjax.report.figures.distance import metric_against_distance
from rnnjax.report.figures.lag import gradient_against_lag
from rnnjax.report.figures.positions import buckets, share_by_position
from rnnjax.report.grids import length_grid
from rnnjax.report.study import read_study
from rnnjax.store.pool import Pool
from rnnjax.store.sweep_record import SweepRecord, write_sweep
from tests.report_samples import config_of, metrics_of, opinion_sweep, reviews_sweep
from tests.report_samples import store as store_run


THREE = ("elman_sigmoid", "elman_relu", "gru")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built report of two networks, two distances, two seeds, with mishaps."""
    folder = tmp_path_factory.mktemp("report") / "main"
    opinion_sweep(folder, THREE, (4, 60), (0, 1))
    build(folder)
    return folder


def printed(folder: Path) -> str:
    """The summary on a terminal of 79 columns."""
    screen = io.StringIO()
    Console(width=79, file=screen).print(summary(folder))
    return screen.getvalue()


@pytest.fixture(scope="module")
def page(sweep: Path) -> str:
    return (sweep / "report.html").read_text()


def test_the_page_needs_no_network(page: str) -> None:
    assert "http:" not in page and "https:" not in page
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    outside = [t for t in targets if not t.startswith(("#", "data:", "figures/"))]
    assert set(outside) == {"runs.csv"}
    assert "@import" not in page and "url(//" not in page


def test_links_lead_to_files(sweep: Path, page: str) -> None:
    links = set(re.findall(r'href="((?:figures/|runs)[^"]*)"', page))
    assert len(links) > 12
    assert all((sweep / link).stat().st_size for link in links)
    assert {p.suffix for p in (sweep / "figures").iterdir()} == {
        *(".png", ".svg", ".pdf", ".csv")
    }


class Checker(HTMLParser):
    """Open elements, ids and references of a page."""

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
            if name == "aria-labelledby" or (
                name in ("href", "xlink:href") and (value or "").startswith("#")
            ):
                self.wanted.add((value or "").removeprefix("#"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page: str) -> None:
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    assert len(set(checker.ids)) == len(checker.ids)
    assert checker.wanted <= set(checker.ids)
    clips = set(re.findall(r"url\(#([^)]*)\)", page))
    assert clips and clips <= set(checker.ids)


def test_what_a_run_says_cannot_become_markup(page: str) -> None:
    assert "out of memory &lt;while&gt; compiling" in page
    assert "<while>" not in page


def test_every_run_has_a_row(sweep: Path, page: str) -> None:
    table = pl.read_csv(sweep / "runs.csv")
    assert len(table) == 12 and "path" not in table.columns
    assert all(key in page for key in table["run_id"])
    assert page.count("<td", page.index('id="runs"')) >= 12 * 8


@pytest.mark.parametrize(
    "text",
    [
        "rnnjax train -m experiment=main &#39;seed=0,1&#39;",
        "git 0123456789ab with local changes",
        "jax 0.10.2",
        "12 (10 done, 1 diverged, 1 failed)",
        "diverged at update 340",
    ],
)
def test_the_page_states_its_origin(page: str, text: str) -> None:
    assert text in page


def test_colours_of_figures_follow_the_theme(page: str) -> None:
    figures = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "var(--series-0)" in figures and "var(--ink)" in figures
    assert "#0072b2" not in figures


def test_equal_results_give_equal_bytes(sweep: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sweep, copy)
    files = [p for p in copy.rglob("*") if "runs/" not in str(p.relative_to(copy))]
    before = {p: p.read_bytes() for p in files if p.is_file()}
    build(copy)
    assert {p: p.read_bytes() for p in before} == before
    paper = b"".join(p.read_bytes() for p in before if p.suffix in (".svg", ".pdf"))
    assert b"CreationDate" not in paper and b"dc:date" not in paper


def test_figures_tell_variants_apart_alike(sweep: Path) -> None:
    study = read_study(sweep)
    assert list(study.palette) == ["Elman sigmoid", "Elman ReLU", "GRU"]
    colours = [line.colour for line in study.palette.values()]
    assert len(set(colours)) == 3
    flow = study.flow
    drawing = gradient_against_lag(flow.lags, study.palette, "distance")
    assert drawing is not None
    for axes in drawing.figure.axes:
        used = {line.get_color() for line in axes.get_lines()}
        assert set(colours) <= used


def test_reviews_show_lengths_and_references(tmp_path: Path) -> None:
    study = read_study(reviews_sweep(tmp_path / "reviews", seeds=(0,)))
    drawing = share_by_position(study.flow.shares, study.palette, "pad")
    assert drawing is not None
    headings = [axes.get_title(loc="left") for axes in drawing.figure.axes]
    assert "short, pad 0, n = 12\nat initialisation" in headings
    grid = length_grid(study.runs)
    assert grid is not None and "bag of words" in grid.head
    short = [row[grid.head.index("short")].text for row in grid.rows]
    assert short[0] == ".54 (n = 120)"
    table = buckets(study.flow.shares)
    short = table.filter(pl.col("bucket") == "short")
    assert short["position"].max() == 7
    # With 50 words of padding no sentence is short.
    assert short["distance"].unique().to_list() == [0.0]
    assert table.filter(bucket="long", distance=50.0)["sentences"].max() == 32


def of_one_distance(folder: Path) -> Path:
    return opinion_sweep(folder, THREE[:1], (4,), (0,), mishaps=False)


def without_probes(folder: Path) -> Path:
    pool = Pool(folder / "runs")
    config = config_of("gru", 0, {"name": "opinion", "distance": 4})
    results = {"test_accuracy": 0.9, "baseline": 0.5, "solved": False}
    key = store_run(pool, config, "done", results, metrics_of(500, 0.9, True))
    record = SweepRecord("one", "rnnjax train", "2026-01-01", (key,), pool.path)
    write_sweep(folder, record)
    return folder


def a_pool(folder: Path) -> Path:
    return without_probes(folder) / "runs"


def one_run(folder: Path) -> Path:
    return next((without_probes(folder) / "runs").glob("sample-*"))


def only_failed(folder: Path) -> Path:
    pool = Pool(folder / "runs")
    config = config_of("gru", 0, {"name": "opinion", "distance": 4})
    key = store_run(pool, config, "failed", error="no memory left")
    planned = (key, "feedfeedfeed")
    write_sweep(folder, SweepRecord("two", "…", "2026-01-01", planned, pool.path))
    return folder


def no_run(folder: Path) -> Path:
    write_sweep(folder, SweepRecord("none", "…", "2026-01-01", (), folder / "runs"))
    return folder


@pytest.mark.parametrize(
    ("make", "figures", "text"),
    [
        (of_one_distance, {"share_per_word_distance_4"}, "every network solved"),
        (without_probes, {"training_curves"}, "no network solved"),
        (a_pool, {"training_curves"}, "no network solved"),
        (one_run, {"training_curves"}, "no network solved"),
        (only_failed, set(), "1 not begun"),
        (no_run, set(), "nothing can be said yet"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.filterwarnings("ignore:.*lacks 1 of the 2 runs")
def test_what_is_not_there_is_left_out(
    make: Callable[[Path], Path], figures: set[str], text: str, tmp_path: Path
) -> None:
    folder = make(tmp_path / "sweep")
    page = build(folder).read_text()
    assert text in page
    drawn = {p.stem for p in (folder / "figures").glob("*.svg")}
    assert figures <= drawn and bool(drawn) == bool(figures)
    assert "accuracy_against_distance" not in drawn
    printed(folder)


def test_no_report_of_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a sweep"):
        build(tmp_path)
    assert not list(tmp_path.iterdir())


def test_accuracy_against_distance_shows_every_seed(sweep: Path) -> None:
    study = read_study(sweep)
    frame = study.runs.frame
    drawing = metric_against_distance(frame, study.palette, "distance", "accuracy")
    assert drawing is not None
    dots = sum(
        len(line.get_xdata())  # pyright: ignore[reportArgumentType]
        for axes in drawing.figure.axes
        for line in axes.get_lines()
        if line.get_marker() == "o"
    )
    # Neither the run that failed nor the one that diverged has an accuracy.
    assert dots == 10 == len(drawing.data)


def test_the_summary_is_a_table_of_variants_and_distances(sweep: Path) -> None:
    lines = printed(sweep).splitlines()
    assert lines[0].split() == "variant distance 4 distance 60".split()
    sigmoid = next(i for i, line in enumerate(lines) if "Elman sigmoid" in line)
    assert ".99" in lines[sigmoid] and "(.49–.50)" in lines[sigmoid]
    assert lines[sigmoid + 1].split() == ["2/2", "−0.646", "0/2", "−0.640"]
    text = "\n".join(lines)
    assert "1 unfinished" in text and "1 diverged" in text


def noted(folder: Path) -> dict[str, str]:
    return json.loads((folder / ".report.json").read_text())["files"]


def test_a_report_replaces_what_reports_wrote_and_nothing_else(
    sweep: Path, tmp_path: Path
) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(sweep, pool)
    build(pool)
    # of an earlier report: its own record says so
    stale, foreign = (pool / "figures" / name for name in ("old.png", "mine.png"))
    stale.write_bytes(b"drawn earlier")
    record = noted(pool) | {
        "figures/old.png": hashlib.sha256(b"drawn earlier").hexdigest()
    }
    (pool / ".report.json").write_text(json.dumps({"files": record, "writing": []}))
    foreign.write_bytes(b"a photograph")
    build(pool)
    assert not stale.exists() and foreign.read_bytes() == b"a photograph"
    assert set(noted(pool)) == {
        str(file.relative_to(pool))
        for file in [
            pool / "report.html",
            pool / "runs.csv",
            *(pool / "figures").iterdir(),
        ]
        if file != foreign
    }


@pytest.mark.parametrize(
    "name",
    [
        "runs.csv",
        pytest.param("report.html", marks=pytest.mark.slow),
        pytest.param("figures/training_curves.csv", marks=pytest.mark.slow),
    ],
)
def test_a_file_of_somebody_else_is_not_overwritten(
    sweep: Path, tmp_path: Path, name: str
) -> None:
    fresh, changed = tmp_path / "fresh", tmp_path / "changed"
    shutil.copytree(sweep, changed)
    build(changed)
    shutil.copytree(sweep, fresh)
    for written in [*noted(changed), ".report.json"]:
        (fresh / written).unlink(missing_ok=True)
    for folder, said in ((fresh, "not written by"), (changed, "changed after")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("my own table")
        before = sorted(folder.rglob("*"))
        with pytest.raises(UserError, match=f"{name}' was {said} the last report"):
            build(folder)
        assert (folder / name).read_text() == "my own table"
        assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_an_interrupted_report_is_written_again(sweep: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(sweep, pool)
    build(pool)
    whole = (pool / "runs.csv").read_bytes()
    record = {"files": noted(pool), "writing": list(noted(pool))}
    (pool / ".report.json").write_text(json.dumps(record))
    (pool / "runs.csv").write_bytes(b"half")
    build(pool)
    assert (pool / "runs.csv").read_bytes() == whole


@pytest.mark.parametrize("way", ["up", "absolute", "link"])
def test_a_record_of_somebody_else_removes_nothing_outside(
    sweep: Path, tmp_path: Path, way: str
) -> None:
    """A pool that was handed over may hold any record of a report."""
    pool, precious = tmp_path / "pool", tmp_path / "mine" / "precious.txt"
    shutil.copytree(sweep, pool)
    precious.parent.mkdir()
    precious.write_text("mine")
    (pool / "linked").symlink_to(precious.parent)
    names = {
        "up": "../mine/precious.txt",
        "absolute": str(precious),
        "link": "linked/precious.txt",
    }
    record = {"files": {**noted(pool), names[way]: ""}, "writing": [names[way]]}
    (pool / ".report.json").write_text(json.dumps(record))
    build(pool)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("alive", [False, True])
def test_networks_whose_gradient_is_exactly_zero_are_drawn(sweep: Path, alive: bool):
    """All curves of a panel may be: dead units pass nothing back."""
    study = read_study(sweep)
    dead = pl.lit(float("-inf")).cast(pl.Float64)
    names = [name for name in study.flow.lags.columns if name.startswith("log10")]
    which = pl.col("variant") != "GRU" if alive else pl.lit(True)
    zero = [pl.when(which).then(dead).otherwise(pl.col(n)).alias(n) for n in names]
    lags = study.flow.lags.with_columns(zero)
    assert gradient_against_lag(lags, study.palette, "distance") is not None
