"""Ray and submitit on this machine; run where they are installed."""

import os
import shutil
import threading
import time
from pathlib import Path

import jax
import pytest

from rnnjax.results import load
from rnnjax.sweeps.progress import PackSize
from rnnjax.sweeps.settings import LauncherConfig, PackConfig
from tests.launch_samples import Witness, jobs, params_of, start
from tests.training_samples import differing


pytestmark = [pytest.mark.cluster]

SWEEP = ["seed=range(8)", "steps=400", "eval.every=200", "log_every=100"]
PACK = PackConfig(capacity=2)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find this checkout and the programs that were compiled before."""
    names = {
        "JAX_COMPILATION_CACHE_DIR": getattr(jax.config, "jax_compilation_cache_dir"),  # noqa: B009
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    for key, value in names.items():
        monkeypatch.setenv(key, value)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return start(tmp_path_factory.mktemp("alone"), jobs(*SWEEP), pack=PACK)


def same(found, alone):
    for one, other in zip(found.runs, alone.runs, strict=True):
        assert one.manifest().status == "done"
        assert one.manifest().results == other.manifest().results
        assert differing(params_of(one), params_of(other)) == []


def begun(pool: Path) -> list[str]:
    """Identities in the order in which runs were begun, by the index."""
    import json

    lines = (pool / "index.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [r["run_id"] for r in rows if r["facts"]["status"] == "running"]


def test_a_node_of_a_ray_cluster_dies_in_mid_sweep(tmp_path, alone):
    """All runs finish with the same bits; none twice, none lost."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    killed = []

    def kill() -> None:
        """Once two tasks have begun and one run is sealed."""
        while not killed:
            sealed = [
                path.parent.name
                for path in tmp_path.glob("*-*/manifest.json")
                if '"status": "done"' in path.read_text()
            ]
            running = {p.parent.name for p in tmp_path.glob("leases/*/*")}
            if sealed and running:
                cluster.remove_node(node, allow_graceful=False)
                killed.append((sealed, running))
            time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        witness = Witness()
        launcher = LauncherConfig("ray", address=cluster.address)
        found = start(tmp_path, jobs(*SWEEP), witness, launcher=launcher, pack=PACK)
    finally:
        killed.append(())
        ray.shutdown()
        cluster.shutdown()
    assert (found.computed, found.failed) == (8, 0) and len(killed[0]) == 2
    assert witness.packs == [PackSize(400, 2)] * 4 and not witness.warnings
    same(found, alone)
    runs = load(tmp_path).runs
    assert len(runs) == 8 == len(set(runs["run_id"]))
    again = begun(tmp_path)
    twice = {run for run in again if again.count(run) > 1}
    sealed = {name.rpartition("-")[2] for name in killed[0][0]}
    # Begun again was only what had not been sealed when the node died.
    assert set(again) == set(runs["run_id"]) and not twice & sealed
    assert len(twice) <= 2
    assert list((tmp_path / "leases").glob("*/*")) == []


@pytest.mark.parametrize("name", ["submitit_local", "submitit_slurm"])
def test_submitit_runs_an_array_of_packs(name, tmp_path, alone):
    pytest.importorskip("submitit")
    if name == "submitit_slurm" and shutil.which("sbatch") is None:
        pytest.skip("no Slurm here")
    witness = Witness()
    launcher = LauncherConfig(name)
    found = start(tmp_path, jobs(*SWEEP), witness, launcher=launcher, pack=PACK)
    assert (found.computed, found.failed) == (8, 0)
    assert witness.packs == [PackSize(400, 2)] * 4
    same(found, alone)
    assert os.listdir(tmp_path / "submitit") == [found.sweep.name]


def test_a_share_is_queued_again_as_it_is(tmp_path):
    submitit = pytest.importorskip("submitit")
    from rnnjax.sweeps.assignment import Assignment
    from rnnjax.sweeps.launchers.slurm import Requeued
    from tests.launch_samples import settings

    (job,) = jobs()
    left = frozenset([job.run_id])
    share = Assignment((job,), {}, left, settings(tmp_path), "sweep")
    queued = Requeued(share).checkpoint()
    assert isinstance(queued, submitit.helpers.DelayedSubmission)
    assert queued.function.share == share
