"""Files of a finished pool, changed by accident or by a forger, and who reads them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from scripts.soak.generated_case import Input
from scripts.soak.generated_values import TINY
from scripts.soak.mutations import (
    ODD_JSON,
    Rng,
    changed,
    changed_json,
    forge,
    pick,
    replaced,
)


FIGURE = "cliff"


def prepare(ground: Path) -> None:
    """Fill a folder with a pool of finished runs, a checkpoint and stored results.

    One run has probes and a report's worth of metrics, two are of a sweep.
    """
    from rnnjax.cli.main import main
    from rnnjax.store.checkpoint import PACKS, PackCheckpoint

    ground.mkdir(exist_ok=True)
    pool = ground / "pool"
    (ground / "data").mkdir()
    words = [*TINY, f"out={pool}", "steps=2"]
    status = main(["train", "-m", *words, "seed=0,1"])
    status |= main(["train", *words, "seed=2", "probe=light"])
    assert status == 0, "the pool could not be made"
    runs = [run.name.rpartition("-")[2] for run in pool.glob("*-*")]
    saved = PackCheckpoint(pool / PACKS / "0123456789ab", ["00aa11bb22cc", *runs])
    arrays = {"loss": np.arange(6.0).reshape(3, 2)}
    saved.save(1, {"w": np.ones((3, 2), np.float32)}, {"history": arrays})
    gallery = Path(__file__).parents[2] / "experiments" / "gallery"
    shutil.copytree(gallery / FIGURE, ground / FIGURE)


def command(rng: Rng, ground: Path) -> Input:
    """One file or two of a pool are changed, and somebody reads the pool."""
    if rng.random() < 0.06:
        return _stored(rng, ground)
    shutil.copytree(ground / "pool", "pool")
    for _ in range(int(rng.integers(1, 3))):
        _damage(rng, Path("pool"))
    runs = sorted(run for run in Path("pool").glob("*-*") if run.is_dir())
    run = str(pick(rng, runs)) if runs else "pool/none"
    sweep = str(pick(rng, [*Path("pool/sweeps").glob("*")] or [Path("pool")]))
    words = pick(
        rng,
        (
            ["runs", "pool"],
            ["runs", "pool", "--by", "cell", "--where", "seed < 2"],
            ["runs", "pool", "--csv", "a.csv"],
            ["runs", sweep],
            ["runs", run],
            ["compare", run, str(runs[0]) if runs else run],
            ["compare", run, f"pool/{run.rpartition('-')[2][:6]}"],
            ["fsck", "pool"],
            ["fsck", "pool"],
            ["fsck", "pool", "--repair"],
            ["fsck", "pool", "--repair"],
            ["train", "-n", "-m", *TINY, "seed=0,1,2", "out=pool"],
            ["train", "-n", *TINY, "seed=2", "steps=3", "out=pool"],
            ["train", "-m", *TINY, "seed=0,1", "out=pool"],
            ["probe", f"run={run}", "step=7"],
            ["read", run],
            ["read", run],
            ["read", run],
            ["read", "pool"],
            ["verify", run] if rng.random() < 0.3 else ["read", run],
            ["report", "pool"] if rng.random() < 0.3 else ["read", "pool"],
        ),
    )
    if words[0] == "read":
        reads = _of_pool if words[1] == "pool" else _of_run
        return Input("pool files", words, lambda: reads(words[1]))
    return Input("pool files", words, writes=words[0] in ("train", "fsck", "report"))


def _of_run(path: str) -> None:
    """Read everything of a run that needs no program; each is read or refused."""
    import rnnjax
    from rnnjax.errors import UserError

    run = rnnjax.open_run(path)
    refused: list[UserError] = []
    reads: tuple[Callable[[], Any], ...] = (
        *(lambda: run.manifest, lambda: run.config, lambda: run.results),
        *(lambda: run.metrics, lambda: run.probes, lambda: run.params),
        *(lambda: run.best_params, lambda: run.params_at(1), lambda: run.spec),
        *(run.directory.check, run.directory.state_bytes),
    )
    for read in reads:
        try:
            read()
        except UserError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def _of_pool(path: str) -> None:
    """Read the tables of a pool; each is read or refused."""
    import rnnjax
    from rnnjax.errors import UserError

    found = rnnjax.results.load(path)
    for read in (found.metrics, found.probes, found.aggregate, found.varying):
        try:
            read()
        except UserError:
            continue


def _damage(rng: Rng, pool: Path) -> None:
    """Change one file of a pool."""
    files = [file for file in sorted(pool.rglob("*")) if file.is_file()]
    kinds = ("manifest.json", "config.yaml", "index.jsonl", "sweep.json", "commit.json")
    named = [file for file in files if file.name in kinds]
    others = [
        file for file in files if file.name not in kinds and ".hydra" not in str(file)
    ]
    file = pick(rng, (named if rng.random() < 0.6 else others) or files)
    way = rng.random()
    if way < 0.1:
        return replaced(rng, file)
    if way < 0.13:
        Path(pool / pick(rng, ("é", "a-b", "packs/x", "sweeps/y", ".x.tmp"))).touch()
        return None
    content = file.read_bytes()
    if file.name == "index.jsonl":
        lines = content.splitlines(keepends=True)
        at = int(rng.integers(len(lines))) if lines else 0
        lines[at : at + 1] = [changed_json(rng, b"".join(lines[at : at + 1]))]
        content = b"".join(lines)
    elif file.name.endswith(".json"):
        content = changed_json(rng, content)
    elif file.name == "config.yaml" and way < 0.6:
        content = _changed_yaml(rng, content)
    else:
        content = changed(rng, content)
    file.chmod(0o644)
    file.write_bytes(content)
    if file.parent.parent == pool and rng.random() < 0.5:
        forge(file.parent, file.name)
    return None


def _changed_yaml(rng: Rng, content: bytes) -> bytes:
    """A configuration with an odd value somewhere."""
    tree = yaml.safe_load(content)
    if not isinstance(tree, dict):
        return changed(rng, content)
    place = tree
    key = pick(rng, [*place])
    while isinstance(place[key], dict) and place[key] and rng.random() < 0.7:
        place = place[key]
        key = pick(rng, [*place])
    value = pick(rng, ODD_JSON)
    if rng.random() < 0.2:
        place.pop(key)
    elif rng.random() < 0.1:
        place[pick(rng, (1, None, True, 2.5, "a.b", ""))] = value
    else:
        place[key] = value
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")


def _stored(rng: Rng, ground: Path) -> Input:
    """Results of a figure, drawn again."""
    shutil.copytree(ground / FIGURE, FIGURE)
    file = pick(
        rng, [Path(FIGURE) / f"quick.{kind}" for kind in ("nc", "json", "json")]
    )
    if rng.random() < 0.15:
        replaced(rng, file)
    elif file.suffix == ".nc":
        file.write_bytes(changed(rng, file.read_bytes()))
    else:
        file.write_bytes(_changed_record(rng, file.read_bytes()))
    words = ["reproduce", FIGURE, "--redraw", FIGURE]
    return Input("pool files", words, writes=True)


def _changed_record(rng: Rng, content: bytes) -> bytes:
    record = json.loads(content)
    record[pick(rng, [*record])] = pick(rng, ODD_JSON)
    return json.dumps(record).encode()
