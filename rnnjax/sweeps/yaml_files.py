"""YAML files of the user's, read without harm: aliases can make little text endless."""

from pathlib import Path
from typing import Any

import yaml

from rnnjax.errors import UserError
from rnnjax.paths import read_file


MOST_NODES = 100_000
"""Of a file once its aliases are written out; a configuration has some hundred."""

DEEPEST = 50
"""Collections inside of each other."""

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(file: Path) -> tuple[str, Any]:
    """The text of a file, and the plain values that it holds.

    Raises:
        UserError: it cannot be read, is not YAML in UTF-8, or expands to too much.
    """
    content = _content(file)
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
        _check_size(file, text)
        return text, yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"'{file}' is not YAML: {_sentence(error)}") from None


def check_yaml(file: Path) -> None:
    """Refuse a file that must not even be opened by others; other faults are theirs.

    Raises:
        UserError: it cannot be read, or expands to too much.
    """
    content = _content(file)
    try:
        _check_size(file, content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return  # whoever chooses the file is told


def _content(file: Path) -> bytes:
    try:
        return read_file(file)
    except OSError as error:
        raise UserError(f"cannot read '{file}': {error.strerror}") from None


def _check_size(file: Path, text: str) -> None:
    try:
        _check_depth(file, text, _Parser)
    except yaml.YAMLError:
        # libyaml has a limit of its own, met as it looks ahead.
        _check_depth(file, text, yaml.SafeLoader)
        raise
    for document in yaml.compose_all(text, Loader=_Parser):
        if document is not None and _size(document, {}) > MOST_NODES:
            raise UserError(
                f"'{file}' has more than {MOST_NODES:,} values, its aliases written out"
            )


def _check_depth(file: Path, text: str, parser: Any) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=parser):  # which does not recur, as others do
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UserError(f"'{file}' is nested more than {DEEPEST} levels deep")


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of nodes of a tree in which every alias is written out."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # what holds itself is endless
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [one for part in inner for one in _parts(part)]
        known[id(node)] = 1 + sum(_size(one, known) for one in parts)
    return known[id(node)]


def _parts(entry: Any) -> tuple[yaml.Node, ...]:
    """A node of a list, or key and value of a mapping."""
    return entry if isinstance(entry, tuple) else (entry,)


def _sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:3]) or type(error).__name__
