"""What the process is given: 64 bits, little memory, no home."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from scripts.odd_inputs.case import TINY, add, case, expect, process
from scripts.odd_inputs.samples import npz, tokens


WIDE: Any = {"JAX_ENABLE_X64": "1"}


@case()
def training_with_64_bits() -> None:
    process([*f"train task.distance=4 out=pool {TINY}".split()], **WIDE)


@case()
def training_in_shards_with_64_bits() -> None:
    words = f"train task=adding task.length=6 shards=2 out=pool {TINY}"
    process(words.split(), **WIDE)


@case()
def a_probe_with_64_bits() -> None:
    said = process(
        "probe cell=gru task.distance=4 model.hidden=3 sections=adjoints".split(),
        **WIDE,
    )
    expect("loss" in said, "no loss")


def _huge(*words: str) -> None:
    """A forecast for 40 million tokens, with 24 GiB of addresses."""
    inputs = tokens().astype(np.int64)
    inputs[3, 1] = 40_000_000
    path = npz("huge.npz", inputs=inputs)
    process(["train", "task=arrays", f"task.path={path}", *words], memory=24)


add("a dry run of a huge vocabulary", lambda: _huge("--dry-run"))
add("a full dry run of a huge vocabulary", lambda: _huge("--dry-run=full"))


@case()
def a_full_dry_run_of_a_huge_state() -> None:
    process(
        "train --dry-run=full model.hidden=200000 task.distance=4".split(), memory=24
    )


@case("never")
def a_copy_to_wandb_with_a_home_that_takes_nothing() -> None:
    Path("home").touch()
    path = npz("a.npz")
    words = f"train task=arrays task.path={path} tracker=wandb out=pool {TINY}"
    home: Any = {"HOME": os.path.abspath("home"), "NETRC": os.path.abspath("none")}
    said = process(words.split(), **home)
    expect("ERROR" not in said and "INFO" not in said, "foreign lines")
    found = list(Path("pool").glob("wandb/offline-run-*/run-*.wandb"))
    expect(len(found) == 1, f"{len(found)} copies")
