"""A process that is killed, and the same command again."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import pytest

from rnnjax.cli import commands
from rnnjax.cli.main import main
from rnnjax.results import load
from rnnjax.store.checkpoint import COMMIT
from rnnjax.sweeps.packing import PACKS
from tests.launch_samples import SIZES, contents, params_of


SWEEP = [
    *SIZES,
    "task.distance=5",
    "seed=0,1,2,3",
    "steps=400",
    "log_every=32",
    "eval.every=200",
    "probe.steps=[0,200]",
    "probe.batch=6",
    "pack.devices=1",
    "pack.capacity=2",
    "checkpoint.every_seconds=0",
]
"""Two packs of two runs, each saved 13 times."""


def last_save(pack: Path) -> int:
    """The step of a pack's checkpoint; 0 without one."""
    try:
        return json.loads((pack / COMMIT).read_text())["tag"]
    except FileNotFoundError:
        return 0


def until_it_is_in_the_second_pack(process: subprocess.Popen, pool: Path) -> None:
    """Wait until two runs are sealed and the others have been saved a few times."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if process.poll() is not None:
            _, complaint = process.communicate()
            raise AssertionError(f"it ended by itself: {complaint}")
        sealed = {run.parent for run in pool.glob("*-*/params.msgpack")}
        saves = [last_save(pack) for pack in pool.glob(f"{PACKS}/*")]
        if len(sealed) == 2 and any(0 < step < 300 for step in saves):
            return
        time.sleep(0.01)
    raise AssertionError("it never came to the second pack")


@pytest.mark.slow
def test_killed_in_the_middle_of_a_sweep(tmp_path, monkeypatch, capsys):
    words = ["train", "-m", *SWEEP]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    # Two devices as here, and the programs that are compiled already.
    cache: Any = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
    names = {
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnjax", *words, f"out={killed}"],
        env=os.environ | {key: value for key, value in names.items() if value},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until_it_is_in_the_second_pack(process, killed)
    finally:
        process.kill()
        process.communicate()
    before = load(killed).runs
    done = before.filter(before["status"] == "done")
    assert sorted(before["status"]) == ["done", "done", "running", "running"]
    sealed = contents(killed)

    monkeypatch.setattr("rnnjax.report.summary", lambda folder: "")
    monkeypatch.setattr(commands, "report", lambda folder: 0)
    assert main([*words, f"out={killed}"]) == 0
    assert "2 runs in 1 pack, 2 already finished" in capsys.readouterr().err
    assert main([*words, f"out={whole}", "checkpoint.every_seconds=60"]) == 0
    again = contents(killed)
    for run_id in done["run_id"]:
        kept = {name: entry for name, entry in sealed.items() if run_id in name}
        assert kept and kept.items() <= again.items()
    assert not list((killed / PACKS).iterdir())

    found, expected = load(killed), load(whole)
    assert found.runs["run_id"].to_list() == expected.runs["run_id"].to_list()
    assert set(found.runs["status"]) == {"done"} and len(found.runs) == 4
    for run_id in expected.runs["run_id"]:
        one, other = found.run(run_id), expected.run(run_id)
        assert one.params_bytes() == other.params_bytes()
        assert one.metrics().equals(other.metrics(), null_equal=True)
        assert len(one.metrics()) == 14
        assert one.manifest().results == other.manifest().results
        assert one.probes().identical(other.probes())
    assert len({str(params_of(found.run(i))) for i in found.runs["run_id"]}) == 4


TASK = """
import dataclasses
from rnnjax.tasks import Adding

@dataclasses.dataclass(frozen=True)
class Unlucky(Adding):
    length: int = 3
    def sample(self, key, batch, data):
        raise RuntimeError("no luck")
"""


@pytest.mark.parametrize("words", ["train", "train -m seed=0,1"])
def test_exit_status_of_a_run_that_fails(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(TASK)
    assert main([*words.split(), *SIZES, "task=task.py:Unlucky"]) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err and "RuntimeError: no luck" in err
    assert set(load(tmp_path / "runs").runs["status"]) == {"failed"}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["reviews.txt", "empty"]),
        ("good film\t1\nno label here\n", ["line 2"]),
        ("good film\t1\nbad film\tnever\n", ["line 2", "never"]),
        (b"good film\t1\nb\xff\xfe film\t0\n", ["line 2"]),
    ],
)
def test_data_that_cannot_be_used(content, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "reviews.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["train", *SIZES, "task=reviews", f"task.path={file}"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("rnnjax: ") and err.count("\n") == 1
    assert [part for part in parts if part not in err] == []
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.txt"]
