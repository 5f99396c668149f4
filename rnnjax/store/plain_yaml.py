"""YAML restricted to plain values, which is all that our records contain.

Full YAML also has dates, bytes, sets, and aliases, with which a short text can contain
itself, or expand to more values than fit in memory.
"""

from typing import Any

import yaml


DEEPEST = 50
"""Levels of nesting that are accepted; a configuration has three."""

LONGEST_NUMBER = 250
"""Characters that a number may have. An integer of that length still fits a float."""

_PLAIN = frozenset("map seq str int float bool null".split())
_NUMBERS = frozenset(("int", "float"))

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BaseDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write an object that occurs twice in full both times."""
        return True


def dump(tree: dict[str, Any]) -> str:
    """The YAML text of nested mappings of scalars and lists; keeps their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def load(content: bytes) -> dict[str, Any]:
    """The inverse of `dump`.

    Raises:
        ValueError: the text is not a mapping, or contains anything that is not plain.
        YAMLError: it is not YAML.

    >>> load(b"seed: 1\\nprobe: {steps: [0, 5]}")
    {'seed': 1, 'probe': {'steps': [0, 5]}}
    >>> load(b"seed: 2020-01-01")
    Traceback (most recent call last):
    ValueError: line 1 contains a timestamp, not a plain value
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
    """Raise ValueError if a node, or a node inside it, is not plain."""
    line = f"line {node.start_mark.line + 1}"
    kind = node.tag.rpartition(":")[2]
    if id(node) in seen:
        raise ValueError(f"{line} is repeated by an alias")
    if not depth:
        raise ValueError(f"{line} is nested more than {DEEPEST} levels deep")
    if kind not in _PLAIN:
        raise ValueError(f"{line} contains a {kind}, not a plain value")
    if kind in _NUMBERS and len(node.value) > LONGEST_NUMBER:
        raise ValueError(f"{line} contains a number of {len(node.value):,} characters")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise ValueError(f"{line} contains a key that is not text")
            _check(key, depth - 1, seen)
            _check(value, depth - 1, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check(value, depth - 1, seen)
