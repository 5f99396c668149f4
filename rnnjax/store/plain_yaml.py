"""YAML of plain values alone: what a record of ours holds, and nothing else.

YAML itself can tell of more: dates, bytes, sets, and aliases, by which a short text
holds itself, or more values than there is memory for.
"""

from typing import Any

import yaml


DEEPEST = 50
"""Collections inside of each other; a configuration has three."""

LONGEST_NUMBER = 250
"""Letters of a number. A whole one of that length still fits a float."""

_PLAIN = frozenset("map seq str int float bool null".split())
_NUMBERS = frozenset(("int", "float"))

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BaseDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """A list that is there twice is written twice."""
        return True


def dump(tree: dict[str, Any]) -> str:
    """The text of nested mappings of scalars and lists, in their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def load(content: bytes) -> dict[str, Any]:
    """The inverse of `dump`.

    Raises:
        ValueError: the text is no mapping, or holds anything that is not plain.
        YAMLError: it is not YAML.

    >>> load(b"seed: 1\\nprobe: {steps: [0, 5]}")
    {'seed': 1, 'probe': {'steps': [0, 5]}}
    >>> load(b"seed: 2020-01-01")
    Traceback (most recent call last):
    ValueError: line 1 holds a timestamp, not a plain value
    """
    loader = _Parser(content)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ValueError("it is not a mapping")
        _check(node, DEEPEST, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check(node: yaml.Node, depth: int, seen: set[int]) -> None:
    """Raise ValueError if a node, or one inside of it, is not plain."""
    line = f"line {node.start_mark.line + 1}"
    kind = node.tag.rpartition(":")[2]
    if id(node) in seen:
        raise ValueError(f"{line} holds what an alias repeats")
    if not depth:
        raise ValueError(f"{line} is nested more than {DEEPEST} levels deep")
    if kind not in _PLAIN:
        raise ValueError(f"{line} holds a {kind}, not a plain value")
    if kind in _NUMBERS and len(node.value) > LONGEST_NUMBER:
        raise ValueError(f"{line} holds a number of {len(node.value):,} letters")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise ValueError(f"{line} holds a key that is not a text")
            _check(key, depth - 1, seen)
            _check(value, depth - 1, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check(value, depth - 1, seen)
