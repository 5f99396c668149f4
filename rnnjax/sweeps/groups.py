"""The groups of the configuration whose options are generated from the code.

A cell is defined in one file: the fields of its class are its options, and they are
stated nowhere else.
"""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.initializers import INITIALIZERS
from rnnjax.penalties import PENALTIES
from rnnjax.registry import Registry
from rnnjax.sweeps.schema import Field, arguments_of, fields_of, plain
from rnnjax.sweeps.settings import LaunchSettings, TrackerConfig
from rnnjax.tasks import TASKS
from rnnjax.training.config import RunConfig
from rnnjax.training.optimizers import OPTIMIZERS
from rnnjax.training.schedules import SCHEDULES


@dataclasses.dataclass(frozen=True)
class Option:
    """One choice of a group.

    Attributes:
        selector: the key that holds the choice, and its value.
        doc: description in one line.
        fields: the other keys of the option.
    """

    selector: tuple[str, str | None]
    doc: str
    fields: Mapping[str, Field]

    @property
    def node(self) -> dict[str, Any]:
        """What the group contains in a configuration, as plain values."""
        key, value = self.selector
        defaults = {name: plain(f.default) for name, f in self.fields.items()}
        return {key: value} | defaults


REGISTRIES: dict[str, Registry[Any]] = {
    "optimizer": OPTIMIZERS,
    "lr_schedule": SCHEDULES,
    "penalty": PENALTIES,
}
"""Groups whose options are classes in a registry (`rnnjax.choice`)."""

LENGTH = "length"
"""Value of `chrono` that stands for the number of time steps of the task."""

_RECORDS: dict[str, type] = {
    field.name: type(field.default)
    for kind in (RunConfig, LaunchSettings)
    for field in dataclasses.fields(kind)
    if dataclasses.is_dataclass(field.default)
} | {"tracker": TrackerConfig}
"""Keys whose values are a record, a group or not."""

_CHOICES: dict[str, dict[str, tuple[str, str]]] = {
    "clipping": {
        "none": ("", "leave the gradient unchanged"),
        "norm": ("threshold", "scale the gradient down to a global norm"),
        "value": ("threshold", "cut each entry of the gradient"),
    },
    "backprop": {
        "exact": ("", "full back-propagation through time"),
        "cut": ("lag", "no gradient beyond this lag (truncated)"),
        "renormalise": ("", "keep the norm of the adjoint constant at each step"),
        "sham": ("", "its control: the same factors, at other steps"),
    },
    "probe": {
        "off": ("", "measure nothing"),
        "light": ("steps batch sentences", "float32 norms, from the training pass"),
        "full": (
            "steps batch sentences keep_params signal",
            "reverse scan with exponents, and the share of each step",
        ),
    },
    "launcher": {
        "packed": ("", "similar runs share one program, in this process"),
        "basic": ("", "one run after another, in this process"),
        "joblib": ("workers", "one process per run, several at a time"),
        "ray": ("address cpus", "packs as tasks of a Ray cluster"),
        "submitit_local": ("cpus minutes", "packs as local processes, by submitit"),
        "submitit_slurm": (
            "cpus minutes partition workers",
            "packs as one Slurm job array",
        ),
    },
    "tracker": {
        "none": ("", "only run directories"),
        "wandb": ("mode project", "also a copy of each run in Weights & Biases"),
    },
}
"""Groups whose options are values of one field of a record, and are written here: for
each option the other fields that it takes, and its description."""


def group_options() -> dict[str, dict[str, Option]]:
    """All options of all generated groups, by group and name, as registered now."""
    cells = {name: _cell(name, CELLS[name]) for name in CELLS}
    inits = {"none": Option(("name", None), "the cell's own initialisation", {})}
    for name, factory in INITIALIZERS.items():
        fields = arguments_of(factory, "init.")
        inits[name] = Option(("name", name), summary(factory), fields)
    chosen = {
        group: {
            name: Option(("name", name), summary(kind), fields_of(kind, f"{group}."))
            for name, kind in registry.items()
        }
        for group, registry in {"task": TASKS, **REGISTRIES}.items()
    }
    written = {group: _written(group) for group in _CHOICES}
    return {"cell": cells, "init": inits} | chosen | written


@functools.cache
def top_fields() -> Mapping[str, Field]:
    """The keys that belong to no generated group, by dotted name."""
    found = fields_of(RunConfig, "", "cell task cell_options task_options".split())
    found |= fields_of(LaunchSettings, "")
    for name, kind in _RECORDS.items():
        if name not in ("init", *REGISTRIES, *_CHOICES):
            own = fields_of(kind, f"{name}.").values()
            found |= {field.key: field for field in own}
    return found


def summary(thing: object) -> str:
    """The first line of the documentation of a class or function."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _cell(name: str, kind: type[Cell]) -> Option:
    fields = fields_of(kind, "cell.", Cell.structural)
    if "chrono" in fields:
        fields["chrono"] = dataclasses.replace(fields["chrono"], literals=(LENGTH,))
    return Option(("name", name), summary(kind), fields)


def _written(group: str) -> dict[str, Option]:
    fields = fields_of(_RECORDS[group], f"{group}.")
    selector = "preset" if group == "probe" else "name"
    return {
        name: Option((selector, name), doc, {k: fields[k] for k in keys.split()})
        for name, (keys, doc) in _CHOICES[group].items()
    }
