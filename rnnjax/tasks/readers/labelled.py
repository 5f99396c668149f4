"""Sentences with a label each, from tab- or comma-separated files."""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.tasks.readers.text_files import read_text


CLASSES = ("0", "1")
HEADERS = frozenset(
    "label labels class category target score rating polarity sentiment".split()
)
"""What the column of labels is called in a first line."""
TEXTS = frozenset("text review sentence comment document content".split())
"""What the column of texts is called in a first line."""

Label = int | str
"""0 or 1, or the name of a class in lower case."""


def read_labelled(path: Path, skip_empty: bool = False) -> list[tuple[str, Label]]:
    """Sentences and their labels in the order of the file.

    Tab-separated (``sentence⇥label``, the form of the UCI "Sentiment Labelled
    Sentences": quotes are ordinary characters) or comma-separated (``text,label`` with
    CSV quoting). ``.csv`` and ``.tsv`` name the form; any other file is tab-separated
    if it holds a tab. A first line that names its columns (``review,sentiment``) is a
    header; empty lines are passed over. Labels are 0 and 1, or names throughout.

    Args:
        path: the file.
        skip_empty: leave out lines with a label and no text, which are an error else.

    Raises:
        UserError: missing or empty file, bytes that are not UTF-8, a line without a
            label, lines without text, a label that is not a class; names file and line.
    """
    text = read_text(path)
    suffix = path.suffix.lower()
    commas = suffix == ".csv" or (suffix != ".tsv" and "\t" not in text)
    rows = _comma_rows(path, text) if commas else _tab_rows(text)
    sentences: list[tuple[str, Label]] = []
    empty: list[int] = []
    for number, (line, cells) in enumerate(rows):
        label = _plain(cells[-1]) if len(cells) > 1 else ""
        where = f"{path}, line {line}"
        if number == 0 and _is_header(where, cells[0].strip().lower(), label):
            continue
        if not label:
            form = "a comma" if commas else "a tab"
            raise UserError(f"{where} has no label (text, {form}, then 0 or 1)")
        if len(cells) > 2:
            raise UserError(
                f"{where} has {len(cells)} columns; put text with commas into quotes"
            )
        found = _label(where, label, sentences[0][1] if sentences else None)
        if cells[0].strip():
            sentences.append((cells[0], found))
        else:
            empty.append(line)
    if empty and not skip_empty:
        raise _without_text(path, empty)
    if not sentences:
        raise UserError(f"{path} is empty: it holds no sentence")
    _refuse_header(path, [label for _, label in sentences])
    return sentences


def _plain(text: str) -> str:
    """A label in lower case: composed (NFC), without characters that show nothing."""
    shown = (c for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", "".join(shown)).strip().lower()


def _refuse_header(path: Path, labels: Sequence[Label]) -> None:
    """Refuse a first label that comes once, above classes that come again and again."""
    counts = Counter(labels)
    rest = [count for label, count in counts.items() if label != labels[0]]
    if isinstance(labels[0], str) and counts[labels[0]] == 1 and rest:
        if len(rest) > 1 and min(rest) > 2:
            raise UserError(
                f"{path}: the label {labels[0]!r} of its first line comes nowhere "
                "else; if that line names the columns, call them text and label"
            )


def class_names(where: str, labels: Sequence[Label]) -> tuple[str, ...]:
    """The classes in the order of their numbers: 0 and 1, or all names, sorted.

    Raises:
        UserError: numbers beside names, or more names than classes could be.

    >>> class_names("demo", ["positive", "negative", "positive"])
    ('negative', 'positive')
    """
    names = sorted({label for label in labels if isinstance(label, str)})
    if not names:
        return CLASSES
    if not all(isinstance(label, str) for label in labels):
        raise UserError(f"{where}: some labels are 0 or 1, others names ({names[0]})")
    if len(names) > max(2, len(labels) // 3):
        raise UserError(
            f"{where}: {len(names)} different labels for {len(labels)} sentences; the "
            "last column must hold 0 or 1, or the name of a class"
        )
    return tuple(names)


def _is_header(where: str, text: str, label: str) -> bool:
    if text in HEADERS and label in TEXTS:
        raise UserError(
            f"{where}: the columns are {text} and {label}; the text must come first "
            "and its label last"
        )
    return label in HEADERS or (text in TEXTS and label not in CLASSES)


def _label(where: str, label: str, first: Label | None) -> Label:
    """A label as number or name, of the same kind as the first of its file."""
    number = label in CLASSES
    if (isinstance(first, int) or first is None and _is_number(label)) and not number:
        raise UserError(
            f"{where}: label {label!r} is not a class; known: 0, 1, or names throughout"
        )
    if isinstance(first, str) and _is_number(label):
        raise UserError(
            f"{where}: label {label!r} is a number and the first one, {first!r}, a name"
        )
    return int(label) if number else label


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _without_text(path: Path, lines: Sequence[int]) -> UserError:
    advice = "task.skip_empty=true leaves out such lines"
    if len(lines) == 1:
        return UserError(
            f"{path}, line {lines[0]} has no text before its label; {advice}"
        )
    shown = ", ".join(map(str, lines[:10])) + (", …" if len(lines) > 10 else "")
    return UserError(
        f"{path}: {len(lines)} lines have no text before their label ({shown}); "
        f"{advice}"
    )


def _tab_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line; the label stands after the last tab."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r").rsplit("\t", maxsplit=1)


def _comma_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line of each row and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None
