"""Sweeps of runs that take moments, commands in a process, and what a pool holds."""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnjax.errors import UserError
from rnnjax.results import load
from rnnjax.run import open_run
from rnnjax.store import sealed_json
from rnnjax.store.manifest import FINISHED
from rnnjax.store.rundir import PROBES, RunDir


SIZES = (
    "model.hidden=4 model.embedding=3 eval.every=6 eval.size=10 lr=0.05 batch=4 "
    "steps=12 log_every=5 task.distance=5 "
    "checkpoint.every_seconds=0 pack.devices=1 pack.capacity=2"
).split()
"""Two runs a pack, saved at each of four stops."""

PROBED = ["probe.steps=[0,4]", "probe.batch=6", "probe.sentences=2"]
FULL = ["probe=full", *PROBED]
LIGHT = ["probe=light", *PROBED]
OFF = ["probe=off"]


def sweep(pool: Path, *words: str, seeds: int = 4) -> list[str]:
    """The words of a command that trains runs into a pool."""
    seed = f"seed=range({seeds})"
    return ["train", "-m", *SIZES, seed, *words, f"out={pool}"]


def command(
    words: Sequence[str],
    draws: bool = False,
    prepare: Callable[[Callable[[Any], None]], object] | None = None,
    *,
    tell: Callable[[Any], None],
) -> int:
    """Run ``rnnjax WORDS`` as the program of this process; its exit status.

    Args:
        words: the command line.
        draws: whether a sweep ends with its report, which takes as long as the rest.
        prepare: called before, with `tell`.
        tell: sends the other side a message.
    """
    import rnnjax.cli.commands
    import rnnjax.report
    from rnnjax.cli.main import program

    if not draws:
        setattr(rnnjax.report, "summary", lambda folder: "")  # noqa: B010
        setattr(rnnjax.cli.commands, "report", lambda folder: 0)  # noqa: B010
    if prepare:
        prepare(tell)
    sys.argv = ["rnnjax", *words]
    return program()


@dataclass(frozen=True)
class Look:
    """What the public readers say of a pool.

    Attributes:
        bits: of each finished run: status, steps, final numbers, and the digests of all
            its files, each read and compared.
        said: warnings and errors on the way.
    """

    bits: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def look(pool: Path) -> Look:
    """Read all finished runs of a pool, every file of them."""
    found = Look()
    if not pool.is_dir():
        return found
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            results = load(pool)
        except UserError as error:
            if any(pool.glob("*/params.msgpack")):
                found.said.append(str(error))
            return found
        done = results.runs.filter(results.runs["status"].is_in(list(FINISHED)))
        for run_id, path in zip(done["run_id"], done["path"], strict=True):
            try:
                found.bits[run_id] = bits(RunDir(Path(path)))
            except UserError as error:
                found.said.append(str(error))
        if found.bits:
            table = results.metrics()
            if set(table["run_id"]) != set(found.bits):
                found.said.append("the table of metrics lacks runs")
    found.said.extend(str(one.message) for one in noted)
    return found


def bits(run: RunDir) -> str:
    """All that decides what a finished run shows, each file read by its own reader."""
    run.check()
    opened = open_run(run.path)
    for name in ("config", "params", "best_params", "metrics"):
        getattr(opened, name)
    if run.has(PROBES):
        _ = opened.probes
    one = run.manifest()
    return sealed_json.dumps(
        {
            "status": one.status,
            "steps": one.steps,
            "diverged_at": one.diverged_at,
            "results": one.results,
            "files": dict(sorted(one.files.items())),
        }
    )


def differences(found: str | None, expected: str | None) -> str:
    """Which parts of `bits` differ; empty: none."""
    if found is None or expected is None:
        return "" if found == expected else "there is only one of them"
    one, other = sealed_json.loads(found), sealed_json.loads(expected)
    one, other = one | one.pop("files"), other | other.pop("files")
    names = [k for k in one.keys() | other.keys() if one.get(k) != other.get(k)]
    return ", ".join(f"{k}: {one.get(k)}, not {other.get(k)}" for k in sorted(names))
