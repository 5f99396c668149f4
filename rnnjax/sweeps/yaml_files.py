"""Read users' YAML files safely: with aliases, a short text can expand without end."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from rnnjax.errors import UserError
from rnnjax.paths import read_file


MAX_NODES = 100_000
"""Most values in a file with its aliases expanded; normal files have some hundred."""

DEEPEST = 50
"""Most levels of nested collections."""

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(file: Path) -> tuple[str, Any]:
    """The text of a file, and the plain values in it.

    Raises:
        OSError: the file cannot be read.
        UserError: it is not YAML in UTF-8, or is too large once its aliases are
            expanded.
    """
    content = read_file(file)
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
        _check_size(file, text)
        return text, yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = "; ".join(lines[:3]) or type(error).__name__
        raise UserError(f"'{file}' is not YAML: {said}") from None


def check_yaml(file: Path) -> None:
    """Refuse a file that Hydra cannot open safely; Hydra itself reports other errors.

    Raises:
        OSError: the file cannot be read.
        UserError: it is too large once its aliases are expanded.
    """
    with suppress(yaml.YAMLError, UnicodeDecodeError, RecursionError):
        _check_size(file, read_file(file).decode("utf-8"))


def _check_size(file: Path, text: str) -> None:
    try:
        _check_depth(file, text, _Parser)
    except yaml.YAMLError:
        # libyaml has its own limit, which it can reach while looking ahead.
        _check_depth(file, text, yaml.SafeLoader)
        raise
    for document in yaml.compose_all(text, Loader=_Parser):
        if document is not None and _size(document, {}) > MAX_NODES:
            raise UserError(
                f"'{file}' has more than {MAX_NODES:,} values with aliases expanded"
            )


def _check_depth(file: Path, text: str, parser: Any) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=parser):  # parsing events is not recursive
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UserError(f"'{file}' is nested more than {DEEPEST} levels deep")


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of nodes of a tree with all aliases expanded."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # a node that contains itself is endless
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        if isinstance(node, yaml.MappingNode):
            inner = [one for pair in node.value for one in pair]
        known[id(node)] = 1 + sum(_size(one, known) for one in inner)
    return known[id(node)]
