"""Twelve small runs whose numbers are recorded: what they are and how they are read.

Six cells, two seeds each, from the command line to the sealed files: parameters,
metrics and probes, under a full and under a light probe.
"""

import dataclasses
import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import rnnjax
from rnnjax.store.environment import processor
from rnnjax.sweeps.compose import plan
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.verifying import UPDATES


FOLDER = Path(__file__).parent / "golden"
RECORD = FOLDER / "record.json"

SEEDS = (0, 1)
FIRST = UPDATES
"""Updates over which machines that round differently are compared."""

PROBED_EARLY = 2
"""Of the probed training steps, those up to `FIRST`."""

TASKS = {
    "opinion": ("task=opinion", "task.distance=12"),
    "adding": ("task=adding", "task.length=16"),
}
CELLS = {
    "elman": TASKS["opinion"],
    "lstm": TASKS["opinion"],
    "gru": TASKS["opinion"],
    "urnn": TASKS["adding"],
    "lru": TASKS["adding"],
    "rhn": TASKS["adding"],
}
PROBES = ("full", "light")

COMMON = (
    "steps=40 batch=4 lr=1e-2 log_every=10 model.hidden=6 model.embedding=4 "
    "eval.every=20 eval.size=8 probe.batch=3 probe.steps=[0,20] "
    "probe.sentences=2"
).split()

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Machine:
    """What decides the last bits of a result.

    Attributes:
        jaxlib: its version.
        processor: digest of what the processor can do.
        flags: of XLA.
    """

    jaxlib: str
    processor: str
    flags: str


def machine() -> Machine:
    """This one."""
    flags = os.environ.get("XLA_FLAGS", "")
    return Machine(metadata.version("jaxlib"), processor(), flags)


def recorded_machine() -> Machine:
    """The one that the record was made on."""
    return Machine(**json.loads(RECORD.read_text())["machine"])


def run_both(cell: str, probe: str, pool: Path) -> list[Arrays]:
    """Train a cell with each seed under a probe; all arrays that the runs left."""
    words = [f"cell={cell}", *CELLS[cell], *COMMON, f"probe={probe}"]
    seeds = ",".join(map(str, SEEDS))
    sweep = plan([*words, f"out={pool}", f"seed={seeds}"], multirun=True)
    result = launch(sweep.jobs, sweep.settings)
    assert not result.failed
    return [arrays_of(rnnjax.open_run(run.path)) for run in result.runs]


def arrays_of(run: rnnjax.Run) -> Arrays:
    """Parameters, metrics, probes and results of a run as arrays with names.

    The first part of a name says what `first_updates` may cut off.
    """
    found = _leaves("params", run.params)
    if run.directory.has("params_at.msgpack"):
        found |= _leaves("early", run.params_at(FIRST))
    for name, column in run.metrics.to_dict(as_series=True).items():
        found[f"metrics/{name}"] = column.to_numpy()
    for name, variable in run.probes.data_vars.items():
        if "train_step" in variable.dims:
            found[f"probes/{name}"] = variable.transpose("train_step", ...).values
    numbers = {name: value for name, value in run.results.items() if value is not None}
    return found | {f"results/{name}": np.array(x) for name, x in numbers.items()}


def _leaves(prefix: str, params: Any) -> Arrays:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {f"{prefix}/{jax.tree_util.keystr(p)}": np.asarray(x) for p, x in leaves}


def first_updates(arrays: Arrays) -> Arrays:
    """What the first `FIRST` updates decide: rounding has had no time to grow."""
    rows = int((arrays["metrics/step"] <= FIRST).sum())
    kept = {"metrics": rows, "probes": PROBED_EARLY, "early": None}
    parts = {name: name.partition("/")[0] for name in arrays}
    return {
        name: array if kept[parts[name]] is None else array[: kept[parts[name]]]
        for name, array in arrays.items()
        if parts[name] in kept
    }


def file_of(cell: str, probe: str) -> Path:
    """Where the arrays of both seeds are kept."""
    return FOLDER / f"{cell}-{probe}.npz"


def save(cell: str, probe: str, runs: list[Arrays]) -> None:
    """Keep the arrays of both seeds."""
    named = {
        f"{seed}/{name}": array
        for seed, run in zip(SEEDS, runs, strict=True)
        for name, array in run.items()
    }
    np.savez_compressed(file_of(cell, probe), **named)  # pyright: ignore[reportArgumentType]


def load(cell: str, probe: str) -> list[Arrays]:
    """The recorded arrays of both seeds."""
    with np.load(file_of(cell, probe)) as stored:
        return [
            {
                name.partition("/")[2]: stored[name]
                for name in stored.files
                if name.startswith(f"{seed}/")
            }
            for seed in SEEDS
        ]


def write_record(why: str) -> None:
    """Say where and why the runs were recorded."""
    known = json.loads(RECORD.read_text())["reasons"] if RECORD.exists() else []
    record = {"machine": dataclasses.asdict(machine()), "reasons": [*known, why]}
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
