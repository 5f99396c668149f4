"""What makes a run stale: other code that its computation imports, and nothing else."""

import ast
import hashlib
import importlib
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import rnnjax
from rnnjax import loaded
from rnnjax.errors import UserError
from rnnjax.store.dynamic_imports import called_imports
from rnnjax.store.source import numeric_modules, source_digest
from rnnjax.store.source_facts import imported, normalised, parsed
from rnnjax.sweeps.compose import compose
from rnnjax.sweeps.user_imports import own_imports, runs_other_code


PACKAGE = {
    "cells/__init__.py": "from rnnjax.cells.gru import GRU\n"
    "from rnnjax.cells.lstm import LSTM\n",
    "cells/base.py": "class Cell: pass\n",
    "cells/gru.py": "from rnnjax.cells.base import Cell\nx = 1\n",
    "cells/lstm.py": "from rnnjax.cells.base import Cell\nx = 2\n",
    "training/loop.py": "from rnnjax.cells import CELLS\nimport rnnjax.activations\n"
    "from rnnjax.store.pool import Pool\n",
    "activations.py": "def tanh(x):\n    'Hyperbolic.'\n    return 2 * x\n",
    "store/pool.py": "y = 1\n",
}
ROOTS = {"rnnjax.training.loop", "rnnjax.cells.gru"}


@pytest.fixture
def package(tmp_path: Path):
    """A function: the digest of `ROOTS` in a package with changed files."""

    def digest(changes: dict[str, str] | None = None, roots: set[str] = ROOTS) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for path, text in {**PACKAGE, **(changes or {})}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return source_digest(roots, folder)

    return digest


@pytest.mark.parametrize(
    ("file", "text", "stale"),
    [
        ("cells/gru.py", "from rnnjax.cells.base import Cell\nx = 3\n", True),
        ("cells/base.py", "class Cell: y = 1\n", True),
        ("activations.py", "def tanh(x):\n    return 3 * x\n", True),
        ("cells/lstm.py", "x = 3\n", False),
        ("cells/new.py", "x = 3\n", False),
        ("cells/__init__.py", "from rnnjax.cells.lstm import LSTM\n", False),
        ("store/pool.py", "y = 2\n", False),
        ("report/plot.py", "y = 2\n", False),
        (
            "cells/gru.py",
            "from rnnjax.cells.base import Cell # why\n\nx = (1)\n",
            False,
        ),
        ("activations.py", "def tanh(x):\n    'Better.'\n    return 2 * x\n", False),
        ("activations.py", "'Words.'\n\ndef tanh(x):\n    return 2 * x\n", False),
    ],
)
def test_what_makes_a_run_stale(package, file, text, stale):
    assert (package({file: text}) != package()) is stale


def test_an_error_message_is_prose_and_its_condition_is_not(package):
    text = "def tanh(x):\n    if x {}: raise ValueError('{}')\n    return 2 * x\n"
    first = package({"activations.py": text.format("> 0", "too large")})
    assert package({"activations.py": text.format("> 0", "be smaller")}) == first
    assert package({"activations.py": text.format("< 0", "too large")}) != first


def test_a_cell_that_is_imported_through_its_package_counts(package):
    """As a user's file does it: ``from rnnjax.cells import LSTM``."""
    roots = {*ROOTS, *imported(ast.parse("from rnnjax.cells import LSTM"))}
    assert package(roots=roots) != package()
    changed = package({"cells/lstm.py": "x = 3\n"}, roots=roots)
    assert changed != package(roots=roots)


def test_a_run_depends_on_its_own_cell_and_task_alone():
    folder = Path(rnnjax.__file__).parent
    roots = {"rnnjax.training.loop", "rnnjax.cells.gru", "rnnjax.tasks.adding"}
    names = set(numeric_modules(roots, folder))
    assert {f"rnnjax.{name}" for name in ("recurrence.reverse", "cells.gru")} <= names
    assert {n for n in names if ".cells." in n} <= {
        f"rnnjax.cells.{name}" for name in "base gated gru linen products".split()
    }
    assert not any("report" in name or "store" in name for name in names)
    assert compose("cell=gru").source == compose("cell=gru", "seed=3").source
    assert compose("cell=gru").source != compose("cell=lstm").source
    assert compose("cell=gru").source != compose("cell=gru", "task=adding").source


SAMPLE = """
class A(B):
    "Text."
    x: int = 1

    def f(self, *a, k=1.5, **b) -> None:
        if k:
            raise ValueError(f"{k} is {a}")
        return f"{self.x!r:>{k}} and {a}" if k else lambda y: y @ b
"""


def test_the_digest_is_the_same_under_every_version_of_python():
    """Frozen under 3.11 and 3.12, whose syntax trees have other fields."""
    text = "".join(normalised(ast.parse(SAMPLE)))
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "4e65d9f947ce"


def test_code_that_changed_after_its_import_has_no_digest(tmp_path, monkeypatch):
    """Python goes on with the old one: a digest of the files would not be of it."""
    folder = tmp_path / "package"
    for name in ("gru", "lstm"):
        file = folder / "cells" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1\n")
    file = folder / "cells" / "gru.py"
    monkeypatch.setattr(loaded, "PACKAGE", str(folder))
    monkeypatch.setattr(loaded, "_STAMPS", loaded._stamps(str(folder)))
    file.write_text(file.read_text() + "y = 3\n")
    with pytest.raises(UserError, match="gru.py has changed since this process import"):
        source_digest({"rnnjax.cells.gru"}, folder)
    source_digest({"rnnjax.cells.lstm"}, folder)
    (folder / "cells" / "new.py").write_text("z = 1\n")
    with pytest.raises(UserError, match="new.py has changed"):
        source_digest({"rnnjax.cells.new"}, folder)


def test_digests_may_be_asked_for_in_several_threads():
    """Python 3.11 loses count of the depth of a tree if two threads parse."""
    sources = [file.read_bytes() for file in Path(rnnjax.__file__).parent.rglob("*.py")]
    with ThreadPoolExecutor(4) as threads:
        trees = list(threads.map(parsed, sources[:120] * 2))
    assert all(isinstance(tree, ast.Module) for tree in trees)


@pytest.mark.parametrize(
    ("text", "names", "unknown"),
    [
        ('import_module("mine.gates")', ["mine.gates"], False),
        ('importlib.import_module(".gates", __package__)', ["mine.gates"], False),
        ('importlib.import_module(".gates", "pk")', ["pk.gates"], False),
        ('importlib.import_module(".gates", package="pk")', ["pk.gates"], False),
        ('__import__("gates")', ["gates"], False),
        ("from importlib import import_module", [], False),
        ('__import__("pk", fromlist=["gates"])', [], True),
        ("importlib.import_module(name)", [], True),
        ("from importlib import import_module as load; load(name)", [], True),
        ("load = importlib.import_module", [], True),
        ("exec(Path('gates.py').read_text())", [], True),
        ("eval(text)", [], True),
        ("spec.loader.exec_module(module)", [], True),
        ("runpy.run_path('gates.py')", [], True),
        ("frame.eval('a + b')", [], False),
        ("jnp.exp(x)", [], False),
    ],
)
def test_modules_that_are_imported_by_a_call(
    text: str, names: list[str], unknown: bool
):
    assert called_imports(ast.parse(text), "mine") == (names, unknown)


PACKAGES = {
    "star": ("from pk_star import *", '__all__ = ["gates"]'),
    "computed in a helper": (
        "import pk_help",
        "import importlib\nname = 'pk_help.gates'\nimportlib.import_module(name)",
    ),
    "lazy": (
        "import pk_lazy",
        "import importlib\ndef __getattr__(name):\n"
        "    return importlib.import_module(f'{__name__}.{name}')",
    ),
}


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_neighbour_is_followed_or_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    text, init = PACKAGES[kind]
    package = tmp_path / text.split()[1]
    package.mkdir()
    (package / "__init__.py").write_text(init)
    (package / "gates.py").write_text("gain = 0.5")
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = dict(own_imports(text.encode(), tmp_path / "cell.py"))
    followed = f"{package.name}.gates" in found
    warned = any("executes code that no import" in str(one.message) for one in caught)
    assert followed or warned and package.name in found


@pytest.mark.filterwarnings("error")
def test_a_file_that_executes_code_which_it_does_not_name(tmp_path: Path):
    file = tmp_path / "cell.py"
    with pytest.warns(UserWarning, match="cell.py executes code that no import"):
        own_imports(b"exec(open('gates.py').read())", file)
    own_imports(b"import json\nimport_module('json')", file)


CHANGES = {
    "a function": ("def gain():\n    return 0.5\n", "def gain():\n    return 0.9\n"),
    "a method": (
        "class Gate:\n    def gain(self):\n        return 0.5\n",
        "class Gate:\n    def gain(self):\n        return 0.9\n",
    ),
    "a constant": ("gain = 0.5\n", "gain = 0.9\n"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_changed_module_without_compiled_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, when: str
):
    """As where Python may write none; imported before the first run, or during it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"own_{when}_{change.replace(' ', '_')}"
    file, text = tmp_path / f"{name}.py", f"import {name}".encode()
    file.write_text(CHANGES[change][0])
    if when == "after":
        assert dict(own_imports(text, tmp_path / "cell.py")).keys() == {name}
    importlib.import_module(name)
    if when == "before":
        importlib.invalidate_caches()
        assert not runs_other_code(sys.modules[name], file, file.read_bytes())
    file.write_text(CHANGES[change][1])
    with pytest.raises(UserError, match="has changed since it was imported"):
        own_imports(text, tmp_path / "cell.py")
    monkeypatch.delitem(sys.modules, name)
