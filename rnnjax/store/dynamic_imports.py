"""Modules that a file imports by a call, and whether it executes code it does not name.

``importlib.import_module("mine.gates")`` names its module; with a computed name, or
with ``exec``, nobody can tell from the text what is executed.
"""

import ast
from importlib.util import resolve_name


BUILTINS = frozenset({"exec", "eval", "__import__"})

FUNCTIONS = frozenset(
    "import_module exec_module load_module run_module run_path".split()
)
"""Functions and methods that execute a module or a file."""


def called_imports(tree: ast.AST, package: str = "") -> tuple[list[str], bool]:
    """The modules imported by calls, and whether other code may be executed.

    Args:
        tree: the syntax tree of a file.
        package: the package to which a leading dot refers.

    >>> called_imports(ast.parse("import_module('mine.gates')"))
    (['mine.gates'], False)
    >>> called_imports(ast.parse("import_module(name)"))
    ([], True)
    """
    names: list[str] = []
    resolved = set[int]()
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Call) and (name := _module_of(node, package)):
            names.append(name)
            resolved.add(id(node.func))
    return names, any(id(node) not in resolved and _executes(node) for node in nodes)


def _executes(node: ast.AST) -> bool:
    """Whether a node refers to a function that executes code."""
    if isinstance(node, ast.Name):
        return node.id in BUILTINS | FUNCTIONS
    if isinstance(node, ast.Attribute):
        return node.attr in FUNCTIONS or node.attr == "__import__"
    if isinstance(node, ast.ImportFrom):  # under another name, it would be overlooked
        return any(alias.asname and alias.name in FUNCTIONS for alias in node.names)
    return False


def _module_of(call: ast.Call, package: str) -> str | None:
    """The module that a call imports; None if it cannot be told."""
    function = call.func
    called = function.attr if isinstance(function, ast.Attribute) else ""
    called = function.id if isinstance(function, ast.Name) else called
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    name = _text(given[0]) if given else None
    if name is None:
        return None
    if called == "__import__" and len(given) == 1:
        return name
    if called != "import_module" or len(given) > 2:
        return None
    if len(given) == 2 and not _is_own_package(given[1]):
        package = _text(given[1]) or ""
    try:
        return resolve_name(name, package)
    except ImportError:
        return None


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _is_own_package(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "__package__"
