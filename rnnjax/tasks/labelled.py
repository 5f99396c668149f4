"""Sentences with a label each, from tab- or comma-separated files."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.tasks.files import read_text


CLASSES = ("0", "1")
HEADERS = ("label", "class", "score", "sentiment")


def read_labelled(path: Path) -> list[tuple[str, int]]:
    """Sentences and their labels, 0 or 1, in the order of the file.

    Tab-separated (``sentence⇥label``, the form of the UCI "Sentiment Labelled
    Sentences": quotes are ordinary characters) or comma-separated (``text,label`` with
    CSV quoting). ``.csv`` and ``.tsv`` name the form; any other file is tab-separated
    if it holds a tab. A first line whose label reads label, class, score or
    sentiment is a header; empty lines are passed over.

    Raises:
        UserError: missing or empty file, bytes that are not UTF-8, a line without a
            label or without text, a label that is not a class; names file and line.
    """
    text = read_text(path)
    suffix = path.suffix.lower()
    commas = suffix == ".csv" or (suffix != ".tsv" and "\t" not in text)
    rows = _comma_rows(path, text) if commas else _tab_rows(text)
    sentences: list[tuple[str, int]] = []
    for number, (line, cells) in enumerate(rows):
        label = cells[-1].strip() if len(cells) > 1 else ""
        if number == 0 and label.lower() in HEADERS:
            continue
        where = f"{path}, line {line}"
        if not label:
            form = "a comma" if commas else "a tab"
            raise UserError(f"{where} has no label (text, {form}, then 0 or 1)")
        if len(cells) > 2:
            raise UserError(
                f"{where} has {len(cells)} columns; put text with commas into quotes"
            )
        if label not in CLASSES:
            raise UserError(f"{where}: label {label!r} is not a class; known: 0, 1")
        if not cells[0].strip():
            raise UserError(f"{where} has no text before its label")
        sentences.append((cells[0], int(label)))
    if not sentences:
        raise UserError(f"{path} is empty: it holds no sentence")
    return sentences


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
