"""Words and names of the user's are drawn letter by letter, whatever they hold."""

import html
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from rnnjax.report import build
from rnnjax.report.naming import NAME, WORD, label, slug
from rnnjax.report.style import save_figure, style
from tests import report_samples
from tests.report_samples import opinion_sweep
from tests.test_report_instruments import DRAW, made


MATHS = ("$word$", "$a_{", r"\$5", r"$\frac{1}$", "a_b^c", "$")
MARKUP = ("<b>bold</b>", "<script>alert(1)</script>", "&amp;", '"quoted"')
CONTROLS = ("a\x1b[31mred", "nul\0nul", "two\nlines", "turned\u202eround", "\ud800")


def texts_of(svg: Path) -> str:
    """All texts of a picture, which has to be well-formed."""
    return "\n".join(node.text or "" for node in ET.parse(svg).iter() if node.text)


@pytest.mark.parametrize("text", [*MATHS, *MARKUP])
def test_a_figure_shows_a_text_letter_by_letter(text: str, tmp_path: Path) -> None:
    with style():
        figure = Figure(figsize=(3, 2))
        axes = figure.add_subplot()
        axes.set(title=text, xlabel=f"x {text}", xticks=[0, 1])
        axes.set_xticks([0, 1], [text, f"tick {text}"])
        axes.text(0, 0, f"note {text}")
        axes.plot([0, 1], label=f"line {text}")
        figure.legend()
    save_figure(figure, "sample", tmp_path)
    found = texts_of(tmp_path / "sample.svg")
    for place in ("", "x ", "tick ", "note ", "line "):
        assert f"{place}{text}" in found


def test_powers_of_ten_need_no_mathematics(tmp_path: Path) -> None:
    with style():
        figure = Figure(figsize=(6, 2))
        wide, narrow = figure.subplots(1, 2)
        wide.set(xscale="log", yscale="log", xlim=(1e-3, 1e3), ylim=(1, 1e5))
        narrow.set(xscale="log", xlim=(0.2, 0.5))
    save_figure(figure, "sample", tmp_path)
    found = texts_of(tmp_path / "sample.svg")
    assert "10⁻³" in found and "10⁵" in found and "3×10⁻¹" in found
    assert "$" not in found and "math" not in found


@pytest.mark.parametrize("text", [*MATHS, *MARKUP, *CONTROLS, "w" * 10_000, "größe"])
def test_a_label_fits_and_is_harmless(text: str) -> None:
    for longest in (NAME, WORD):
        found = label(text, longest)
        assert found.isprintable() and len(found) <= longest
        if text.isprintable() and len(text) <= longest:
            assert found == text
    assert label(f"{text}{'x' * 300}a{text}") != label(f"{text}{'x' * 300}b{text}")
    assert len(slug(f"{text} 今日は" * 50).encode()) <= 100


def test_a_report_of_odd_names_and_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "$x$<b>\x1b[31m" + "n" * 500
    monkeypatch.setitem(report_samples.VARIANTS, name, report_samples.VARIANTS["lstm"])
    monkeypatch.setitem(report_samples.REACH, name, 50)
    odd = ["$word$", "<b>bold</b>", "a\x1b[31m", "w" * 10_000]
    monkeypatch.setattr(report_samples, "OPENING", odd)
    opinion_sweep(tmp_path, (name,), (4, 30), (0,))
    page = build(tmp_path).read_text()
    assert "\x1b" not in page and "w" * 500 not in page and "n" * 500 not in page
    assert "<b>" not in page and "&lt;b&gt;" in page
    assert "$word$" in page and html.escape(r"a\x1b[31m") in page
    texts = [texts_of(file) for file in (tmp_path / "figures").glob("*.svg")]
    assert any("$word$" in text and "<b>bold</b>" in text for text in texts)
    assert any("$x$<b>" in text for text in texts)
    assert all(len(file.name) < 200 for file in tmp_path.rglob("*"))


def test_words_of_a_probe(tmp_path: Path) -> None:
    words = [*MATHS, *MARKUP, *CONTROLS, "w" * 10_000]
    data = made()
    for time in range(data.sizes["time"]):
        data["word"][time] = words[time % len(words)]
    figure = DRAW["word_strip"](data)
    assert figure is not None
    save_figure(figure, "words", tmp_path)
    found = texts_of(tmp_path / "words.svg")
    assert "$word$" in found and "<b>bold</b>" in found
    assert max(map(len, found.split("\n"))) < 200
    assert np.all(np.array(figure.get_size_inches()) < 60)
