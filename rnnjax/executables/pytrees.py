"""The structure of a pytree as plain values, and back.

Reading a structure imports modules of the packages `PACKAGES` at most, and makes use of
no class that JAX does not know as a node of a pytree.
"""

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from jax.tree_util import PyTreeDef, default_registry

from rnnjax.executables.description import Description, Undescribed


PACKAGES = ("rnnjax", "flax", "optax", "builtins")
"""Packages whose classes may be nodes."""

Structure = Any
"""A `PyTreeDef`, which JAX does not declare as a type."""

LEAF = "leaf"


def written(tree: Structure) -> Any:
    """A structure as nested lists of text: for each node its class, keys and children.

    Raises:
        Undescribed: there is a node of another package, or one with data that is not
            plain text.

    >>> import jax
    >>> text = written(jax.tree.structure({"U": 0, "V": (0, None)}))
    >>> text[:2], read(text)
    (['builtins:dict', ['U', 'V']], PyTreeDef({'U': *, 'V': (*, None)}))
    """

    def node(kind: type, data: Any) -> tuple[str, list[str] | None]:
        name = f"{kind.__module__}:{kind.__qualname__}"
        keys = None if data is None else list(data)
        if not all(isinstance(key, str) for key in keys or ()):
            raise Undescribed(f"a node {name} with the data {data}")
        if kind.__module__.partition(".")[0] not in PACKAGES or "<" in name:
            raise Undescribed(f"a node {name}")
        return name, keys

    return _folded(tree, node)


def described(tree: Structure, description: Description) -> Any:
    """A structure as plain values, that of a node's own data included.

    Unlike `written`, it covers nodes of every class, but cannot be read back.

    Raises:
        Undescribed: a node has data without a description.
    """
    of = description.of
    return _folded(tree, lambda kind, data: (of(kind), of(data)))


def _folded(tree: Structure, node: Callable[[type, Any], tuple[Any, Any]]) -> Any:
    """For each node of a structure what `node` says of it, and its children."""
    found = tree.node_data()
    if found is None:
        return LEAF
    if found[0] is type(None):
        return None
    return [*node(*found), [_folded(child, node) for child in tree.children()]]


def read(text: Any) -> Structure:
    """The structure that `written` described.

    Raises:
        ValueError: the text is not from `written`, or a class no longer exists.
    """
    if text == LEAF:
        return _node(None, ())
    if text is None:
        return _node((type(None), None), ())
    name, keys, children = text
    module, _, qualified = name.partition(":")
    if module.partition(".")[0] not in PACKAGES:
        raise ValueError(f"a node {name}")
    try:
        kind: Any = importlib.import_module(module)
        for part in qualified.split("."):
            kind = getattr(kind, part)
        data = keys if kind is dict or keys is None else tuple(keys)
        return _node((kind, data), map(read, children))
    except (ImportError, AttributeError, RuntimeError, TypeError) as error:
        raise ValueError(f"no node {name}: {error}") from None


def _node(data: Any, children: Iterable[Structure]) -> Structure:
    return PyTreeDef.from_node_data_and_children(default_registry, data, children)
