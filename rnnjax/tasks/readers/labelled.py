"""Read labelled sentences from tab- or comma-separated files."""

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
"""Names of the column of labels by which a header line is recognised."""
TEXTS = frozenset("text review sentence comment document content".split())
"""Names of the column of texts by which a header line is recognised."""

Label = int | str
"""0 or 1, or the name of a class in lower case."""


def read_labelled(path: Path, skip_empty: bool = False) -> list[tuple[str, Label]]:
    """Sentences and their labels in the order of the file.

    A file is tab-separated (``sentence⇥label``, the format of the UCI "Sentiment
    Labelled Sentences", in which quotes are ordinary characters) or comma-separated
    (``text,label`` with CSV quoting). The suffixes ``.csv`` and ``.tsv`` decide; any
    other file is tab-separated if it contains a tab. A first line that names the
    columns (``review,sentiment``) is a header. Empty lines are skipped. Labels are 0
    and 1, or names in the whole file.

    Args:
        path: the file.
        skip_empty: whether to leave out lines with a label but no text; otherwise such
            lines are an error.

    Raises:
        UserError: missing or empty file, bytes that are not UTF-8, a line without a
            label, a line without text, or a label that is not a class; the message
            names the file and the line.
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
            raise UserError(
                f"{where} has no label; expected text, then {form}, then the label"
                " (0, 1 or the name of a class)"
            )
        if len(cells) > 2:
            raise UserError(
                f"{where} has {len(cells)} columns; put text that contains commas into "
                "quotes"
            )
        found = _label(where, label, sentences[0][1] if sentences else None)
        if cells[0].strip():
            sentences.append((cells[0], found))
        else:
            empty.append(line)
    if empty and not skip_empty:
        raise _without_text(path, empty)
    if not sentences:
        raise UserError(f"{path} is empty: it contains no sentences")
    _refuse_header(path, [label for _, label in sentences])
    return sentences


def _plain(text: str) -> str:
    """A label in lower case, composed (NFC), without invisible characters."""
    shown = (c for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFC", "".join(shown)).strip().lower()


def _refuse_header(path: Path, labels: Sequence[Label]) -> None:
    """Reject a first label that occurs only once if all other labels are repeated."""
    counts = Counter(labels)
    rest = [count for label, count in counts.items() if label != labels[0]]
    if isinstance(labels[0], str) and counts[labels[0]] == 1 and rest:
        if len(rest) > 1 and min(rest) > 2:
            raise UserError(
                f"{path}: the label {labels[0]!r} in the first line occurs nowhere "
                "else; if that line is a header, name the columns text and label"
            )


def class_names(where: str, labels: Sequence[Label]) -> tuple[str, ...]:
    """The classes in the order of their numbers: 0 and 1, or all names, sorted.

    Raises:
        UserError: both numbers and names occur, or too many names to be classes.

    >>> class_names("demo", ["positive", "negative", "positive"])
    ('negative', 'positive')
    """
    names = sorted({label for label in labels if isinstance(label, str)})
    if not names:
        return CLASSES
    if not all(isinstance(label, str) for label in labels):
        raise UserError(
            f"{where}: some labels are 0 or 1, others are names ({names[0]})"
        )
    if len(names) > max(2, len(labels) // 3):
        raise UserError(
            f"{where}: {len(names)} different labels for {len(labels)} sentences; the "
            "last column must contain 0 or 1, or the name of a class"
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
    """A label as a number or a name, whichever the first label of the file is."""
    number = label in CLASSES
    if (isinstance(first, int) or first is None and _is_number(label)) and not number:
        raise UserError(
            f"{where}: label {label!r} is not a class; labels must be 0 and 1, or all "
            "be names"
        )
    if isinstance(first, str) and _is_number(label):
        raise UserError(
            f"{where}: label {label!r} is a number, but the first label, {first!r}, is "
            "a name"
        )
    return int(label) if number else label


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _without_text(path: Path, lines: Sequence[int]) -> UserError:
    advice = "task.skip_empty=true skips such lines"
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
    """Line number and cells of each line; the label is after the last tab."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r").rsplit("\t", maxsplit=1)


def _comma_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number of the last line of each row, and its cells."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None
