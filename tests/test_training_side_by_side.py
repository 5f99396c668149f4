"""Runs side by side under `vmap`, as on a GPU, held to the same runs alone."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from rnnjax.sweeps import worker
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.compose import plan
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.settings import PackConfig
from rnnjax.training import capacity
from rnnjax.training.build import signature
from rnnjax.training.compiled import Compiled
from rnnjax.training.pack import TOLERANCE, how_for, run_mesh
from tests.launch_samples import jobs, params_of, settings, start
from tests.training_samples import compiled, tiny, train, training


SIDE_BY_SIDE = PackConfig(how="vmap")


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""
    monkeypatch.setattr(worker, "Compiled", compiled)


def distance(one: Any, other: Any) -> float:
    """The largest difference of two trees, relative to the largest of each array."""
    found = [0.0]
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        x, y = np.asarray(x, float), np.asarray(y, float)
        number = np.isfinite(x)
        np.testing.assert_array_equal(x[~number], y[~number])
        largest = np.abs(x[number]).max(initial=1e-30)
        found.append(np.abs(x[number] - y[number]).max(initial=0.0) / largest)
    return max(found)


def columns(frame: Any) -> Mapping[str, Any]:
    """Of a table of metrics, nothing as NaN."""
    return {key: frame[key].cast(float).fill_null(np.nan) for key in frame.columns}


def test_company_changes_no_more_than_the_tolerance(tmp_path):
    """On two devices; the run with lr=1000 diverges beside the others."""
    asked = jobs("lr=.05,1000,.1", "loss_bound=5", probe="off")
    found = start(tmp_path, asked, pack=SIDE_BY_SIDE)
    gaps = []
    for place, (job, run) in enumerate(zip(asked, found.runs, strict=True)):
        manifest = run.manifest()
        slot = manifest.pack
        assert slot is not None and (slot.size, slot.slot) == (3, place)
        assert (slot.how, slot.devices) == ("vmap", 2)
        assert slot.tolerance == TOLERANCE["vmap"] > 0
        (alone,) = train(job.config)
        ended = (manifest.status, manifest.steps, manifest.diverged_at)
        assert ended == (alone.status, alone.steps, alone.diverged_at)
        gaps.append(distance(params_of(run), alone.params))
        if manifest.status == "done":
            rows = {key: np.asarray(v, float) for key, v in alone.metrics.items()}
            gaps.append(distance(columns(run.metrics()), rows))
            results = {k: alone.results[k] for k in ("test_loss", "best_step")}
            stored = {key: manifest.results[key] for key in results}
            gaps.append(distance(stored, results))
    assert max(gaps) <= TOLERANCE["vmap"]


def test_a_decomposition_is_never_batched_on_a_cpu(monkeypatch):
    """Devices that wait for each other lock up: the probe's singular values, here."""
    run = tiny(probe="full")
    pack = training([run], capacity=2, how="vmap")
    fresh = Compiled(signature(run), run_mesh(), 2, "vmap")
    lower, asked = fresh._lower, []

    def spy(name: str, how: Any, arguments: Any) -> Any:
        asked.append((name, how))
        text = lower(name, how, arguments).as_text if how == "vmap" else str
        return SimpleNamespace(as_text=text, compile=lambda options: options)

    monkeypatch.setattr(fresh, "_lower", spy)
    pair = pack.state.params, pack.hyper
    fresh.prepare("evaluate", pack.pack, pair, pack.validation)
    fresh.prepare("probe", pack.pack, pair, pack.probe_batch)
    assert asked == [("evaluate", "vmap"), ("probe", "vmap"), ("probe", "loop")]


def packs_of(asked: list[Job], config: PackConfig) -> list[int]:
    """Sizes of the packs that a launch would make."""
    left = frozenset(job.run_id for job in asked)
    launched = settings(Path("nowhere"), pack=config)
    whole = Assignment(tuple(asked), {}, left, launched, "")
    packs = worker.Worker(whole, Progress(), Copies()).packs(asked, left)
    return [len(pack.members) for pack in packs]


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (SIDE_BY_SIDE, [6, 3]),  # three of 100 bytes on each of two devices
        (PackConfig(devices=1, how="vmap"), [3, 3, 3]),
        (PackConfig(capacity=2, how="vmap"), [4, 4, 1]),
        (PackConfig(), [9]),
    ],
)
def test_a_pack_is_as_large_as_its_memory(config, sizes, monkeypatch):
    monkeypatch.setattr(capacity, "memory_of", lambda device: 700)
    monkeypatch.setattr(capacity, "bytes_of_a_run", lambda *run: 100)
    assert packs_of(jobs("seed=range(9)"), config) == sizes


def test_memory_that_is_not_known():
    assert capacity.memory_of(jax.devices()[0]) is None
    assert packs_of(jobs("seed=range(17)"), SIDE_BY_SIDE) == [16, 1]


@pytest.mark.slow
def test_a_run_takes_its_state_at_least():
    run = tiny()
    found = capacity.bytes_of_a_run(run, signature(run), run_mesh())
    (alone,) = train(run)
    numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(alone.params))
    # parameters and two moments of Adam, read and written
    assert 2 * 3 * 4 * numbers < found < 10_000_000


def test_words_of_the_command_line():
    asked = plan(["pack.how=vmap", "pack.capacity=null"])
    assert asked.settings.pack == PackConfig(how="vmap")
    assert asked.jobs[0].key == plan([]).jobs[0].key
    assert how_for(run_mesh()) == "loop" and how_for(run_mesh(), "vmap") == "vmap"
