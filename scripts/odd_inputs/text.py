"""Sentences as people write them."""

import unicodedata
from pathlib import Path
from typing import Any

from rnnjax.tasks import TASKS
from scripts.odd_inputs.case import add, case, expect


def reviews(path: str, lines: list[str], encoding: str = "utf-8") -> Any:
    """A task that reads these lines."""
    Path(path).write_bytes("".join(lines).encode(encoding))
    made: Any = TASKS["reviews"]
    return made(path=path)


def _next(path: str, unit: str) -> Any:
    made: Any = TASKS["text"]
    return made(path=path, length=8, unit=unit)


def _separated(good: str, bad: str) -> None:
    """One word decides, so a count of words is right on every test sentence."""
    task = reviews(
        "a.tsv", [f"x {good if i % 2 else bad}\t{i % 2}\n" for i in range(60)]
    )
    reached = task.references()["bag_of_words"]
    expect(reached == 1.0, f"bag of words {reached:.2f}")


for _name, _good, _bad in (
    ("words in Greek", "υπέροχη", "απαίσια"),
    ("words in Arabic", "رائع", "سيئ"),
    ("words in Devanagari", "अच्छा", "बुरा"),
    ("words that an accent tells apart", "pâté", "pate"),
    ("words that differ in their last letter", "schön", "schönt"),
):
    add(_name, lambda good=_good, bad=_bad: _separated(good, bad))


def _words(task: Any, row: int = 0) -> list[str]:
    data = task.load()
    return task.words(data["tokens"][row])[: int(data["words"][row])]


@case()
def one_word_in_two_unicode_forms() -> None:
    forms = [unicodedata.normalize(form, "réussi") for form in ("NFC", "NFD")]
    task = reviews("a.tsv", [f"{forms[i % 2]} ok\t{i // 2 % 2}\n" for i in range(60)])
    tokens = task.load()["tokens"]
    expect((tokens[0] == tokens[1]).all(), f"{_words(task)} and {_words(task, 1)}")


@case()
def curly_and_straight_apostrophes() -> None:
    lines = [f"I don{'’' if i % 2 else chr(39)}t\t{i // 2 % 2}\n" for i in range(60)]
    task = reviews("a.tsv", lines)
    tokens = task.load()["tokens"]
    expect((tokens[0] == tokens[1]).all(), f"{_words(task)} and {_words(task, 1)}")


@case()
def line_breaks_of_html() -> None:
    breaks = ("<br />", "<br/>", "<br>", "<BR />")
    task = reviews(
        "a.tsv", [f"good{breaks[i % 4]}film\t{i // 4 % 2}\n" for i in range(80)]
    )
    for row in range(4):
        expect(_words(task, row) == ["good", "film"], f"{_words(task, row)}")


@case("never")
def a_byte_order_mark_and_crlf() -> None:
    lines = [f"fine {i % 7}x\t{i % 2}\r\n" for i in range(60)]
    task = reviews("a.tsv", ["\ufeff", *lines])
    expect(len(task.load()["labels"]) == 60, "a line was lost")
    expect(_words(task)[0] == "fine", f"first word {_words(task)[0]!r}")


@case()
def labels_in_words() -> None:
    names = ("neg", "pos")
    task = reviews(
        "a.csv", ["text,label\n"] + [f'"a, b {i}",{names[i % 2]}\n' for i in range(60)]
    )
    labels = task.load()["labels"].tolist()
    expect(labels == [i % 2 for i in range(60)], "classes turned round")


@case()
def three_labels_are_three_classes() -> None:
    task = reviews(
        "a.csv", [f"text {i},{('bad', 'good', 'ok')[i % 3]}\n" for i in range(60)]
    )
    found = task.spec(task.load())
    expect(found.classes == ("bad", "good", "ok"), f"classes {found.classes}")
    expect(found.output_size == 3, f"{found.output_size} answers")


@case()
def empty_lines_between_sentences() -> None:
    task = reviews("a.tsv", [f"word{i % 5}\t{i % 2}\n\n  \n" for i in range(60)])
    expect(len(task.load()["labels"]) == 60, "other than 60 sentences")


@case("must")
def a_file_in_utf_16() -> None:
    reviews("a.tsv", [f"film\t{i % 2}\n" for i in range(60)], "utf-16").load()


@case("never")
def next_characters_of_a_text_in_cyrillic() -> None:
    text = "мама мыла раму, " * 60
    Path("a.txt").write_text(text, encoding="utf-8")
    task = _next("a.txt", unit="char")
    task.load()
    spec = task.spec(task.load())
    known = len(set(text)) + 2
    expect(spec.vocabulary >= known, f"{spec.vocabulary} tokens for {known} characters")


@case()
def next_words_of_a_text_in_cyrillic() -> None:
    Path("a.txt").write_text("мама мыла раму, " * 60, encoding="utf-8")
    task = _next("a.txt", unit="word")
    spec = task.spec(task.load())
    expect(spec.vocabulary >= 4, f"a vocabulary of {spec.vocabulary}")
    expect(spec.solved > 0.99, f"four tokens in turn, bigrams reach {spec.solved:.2f}")
    words = set(task.words(range(min(spec.vocabulary, 6))))
    expect({"мама", "мыла", "раму"} <= words, f"no words but {sorted(words)[:8]}")
