"""The content of `rnnjax list`: for each thing a name, a summary and its options."""

import re
from pathlib import Path

from rich.table import Table

from rnnjax.activations import ACTIVATIONS
from rnnjax.quantities import QUANTITIES
from rnnjax.sweeps.groups import Option, group_options
from rnnjax.sweeps.hydra_session import session
from rnnjax.sweeps.schema import MISSING, as_text, leaves
from rnnjax.sweeps.yaml_files import read_yaml
from rnnjax.terminal import console


Entry = tuple[str, str, str]
"""One row of a list: name, description, options."""


def show_list(what: str, config_dir: str | None) -> int:
    """Print a table of the named things of one kind, with options and defaults."""
    table = Table("name", "", "options", title=what)
    for entry in entries(what, config_dir):
        table.add_row(*entry)
    console().print(table)
    return 0


def entries(what: str, config_dir: str | None = None) -> list[Entry]:
    """The rows of one list, such as ``cells`` (`rnnjax.cli.parsing.LISTS`), by name."""
    if what == "activations":
        slopes = "φ′ from {:.4g} to {:.4g}".format
        return [
            (name, phi.formula, slopes(*phi.slope_bounds))
            for name, phi in ACTIVATIONS.items()
        ]
    if what == "quantities":
        return [
            (name, one.definition, f"{one.units}; {', '.join(one.dims) or 'one'}")
            for name, one in QUANTITIES.items()
        ]
    if what == "figures":
        return _figures()
    group = re.sub("ies$", "y", what).removesuffix("s")
    options = group_options()
    if group in options:
        return [
            _generated(name, entry) for name, entry in sorted(options[group].items())
        ]
    with session(config_dir) as hydra:
        return [
            _written(name, hydra.file(group, name))
            for name in hydra.names(group)
            if name != "none"
        ]


def _figures() -> list[Entry]:
    from rnnjax.reproduce.catalogue import figures

    found = []
    for figure in figures():
        costs = [
            f"preset={name}: {preset.cost}"
            for name, preset in figure.presets.items()
            if name != "test"
        ]
        about = f"{figure.title}: {figure.source}"
        found.append((figure.name, about, ", ".join(costs)))
    return found


def _generated(name: str, option: Option) -> Entry:
    pairs = [
        f"{key}={'?' if field.default == MISSING else as_text(field.default)}"
        for key, field in option.fields.items()
    ]
    return name, option.doc, " ".join(pairs)


def _written(name: str, file: Path) -> Entry:
    """The row of a YAML file: its first comment, and the keys that it sets."""
    text, tree = read_yaml(file)
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    doc = next((line for line in comments if not line.startswith("@")), "")
    if not isinstance(tree, dict):
        return name, doc, ""
    stated = tree.pop("defaults", None)
    defaults = [
        f"{str(key).removeprefix('override /')}={as_text(value)}"
        for entry in (stated if isinstance(stated, list) else [])
        if isinstance(entry, dict)
        for key, value in entry.items()
    ]
    pairs = [f"{key}={as_text(value)}" for key, value in leaves(tree).items()]
    return name, doc, " ".join([*defaults, *pairs])
