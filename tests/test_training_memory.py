"""How many places runs get, and what is known of their memory before any is taken."""

from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from rnnjax.sweeps.forecast import forecast
from rnnjax.sweeps.packing import ROOM, Slots
from rnnjax.sweeps.settings import LaunchSettings, PackConfig
from rnnjax.training import rehearsal
from rnnjax.training.build import signature
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import PLACES, RUNS, Pack, run_mesh
from rnnjax.training.sizes import state_bytes
from tests.launch_samples import jobs
from tests.training_samples import compiled, differing, tiny, train, trained


def test_places_of_small_and_of_large_runs():
    slots = Slots(run_mesh(), PackConfig())
    small = jobs("seed=range(3)")
    for members in (small, small[:1]):
        assert slots.places(members) == (slots.mesh, PLACES)
    large = jobs("seed=range(5)", "model.hidden=3000")
    mesh, places = slots.places(large[:1])
    assert (mesh.devices.tolist(), places) == ([slots.mesh.devices[0]], 2)
    assert slots.places(large) == (slots.mesh, 3)
    state = 3 * 4 * 3000 * 3000  # and a little more
    assert slots(large[0]) <= 2 * PLACES and slots(large[0]) * state <= 2 * ROOM
    larger = jobs("model.hidden=9000")
    assert slots(larger[0]) == 2 * 2
    asked = Slots(run_mesh(), PackConfig(capacity=4))
    assert asked.places(large[:1]) == (asked.mesh, 4)


def test_the_bytes_of_a_state_are_those_of_its_arrays():
    config = tiny()
    (outcome,) = train(config)
    numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(outcome.params))
    found = state_bytes(signature(config))
    assert 3 * 4 * numbers < found < 3 * 4 * numbers + 100


@pytest.mark.parametrize(
    "cell", ["elman", pytest.param("lstm", marks=pytest.mark.slow)]
)
def test_two_places_on_one_device_have_the_same_bits(cell):
    config = tiny(cell, lr=0.1)
    mesh = Mesh(run_mesh().devices[:1], (RUNS,))
    alone = PackTraining(compiled(signature(config), mesh, 2), [config])
    (found,), (expected,) = alone.run(), train(config)
    assert differing(trained(found), trained(expected)) == []


def test_a_dry_run_of_what_does_not_fit_takes_nothing(monkeypatch, tmp_path):
    """An embedding of a million words of 320 numbers: 7.7 GB of states."""
    monkeypatch.chdir(tmp_path)
    x = np.ones((30, 3), np.int64)
    x[4, 1] = 1_000_000
    np.savez("ids.npz", inputs=x, targets=np.arange(30) % 2)
    monkeypatch.setattr(rehearsal, "free_memory", lambda mesh: 4e9)

    def refused(*arguments):
        raise AssertionError("arrays are made")

    monkeypatch.setattr(Pack, "stack", refused)
    monkeypatch.setattr(rehearsal, "PackTraining", refused)
    some = jobs("model.embedding=320", task=["task=arrays", "task.path=ids.npz"])
    before = sum(x.nbytes for x in jax.live_arrays())
    (group,) = forecast(some, LaunchSettings(out="runs"), full=True)
    table = 1_000_001 * 320 * 4
    # two places of parameters and two moments, read and written
    assert group.bytes is not None and group.bytes > 2 * 2 * 3 * table
    assert group.seconds is None and not Path("runs").exists()
    assert sum(x.nbytes for x in jax.live_arrays()) - before < 1e6


def test_free_memory_is_that_of_the_process(monkeypatch):
    import resource

    assert 0 < rehearsal.free_memory(run_mesh()) < 1e15
    monkeypatch.setattr(resource, "getrlimit", lambda which: (123, 123))
    assert rehearsal.free_memory(run_mesh()) == 123
