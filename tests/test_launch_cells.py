"""Cells of each kind go the whole way: trained, probed, sealed, in one sweep."""

import jax
import numpy as np
import pytest

from tests.launch_samples import Witness, jobs, params_of, start


CELLS = ["cornn", "exprnn", "gru_before", "indrnn", "lru", "mingru"]
"""Two states; a derived kernel; products in a row; elementwise; complex; none with the
state. Other tests train Elman, LSTM, GRU and uRNN, and take every cell through its
gradient and its probes."""


# A compilation of updates, evaluation and probe for each cell.
@pytest.mark.slow
def test_every_kind_is_trained_and_probed(tmp_path):
    sizes = ["model.hidden=4", "steps=20", "eval.every=20", "log_every=10"]
    planned = jobs(
        f"cell={','.join(CELLS)}",
        *sizes,
        "probe.steps=[0]",
        probe="full",
        task=["task.distance=4"],
    )
    witness = Witness()
    result = start(tmp_path / "runs", planned, witness)
    assert not witness.warnings and result.failed == 0
    assert len(witness.packs) == len(result.runs) == len(CELLS)
    for cell, run in zip(CELLS, result.runs, strict=True):
        manifest, probes = run.manifest(), run.probes()
        assert manifest.status in ("done", "diverged"), (cell, manifest.error)
        assert manifest.status == "diverged" or manifest.steps == 20
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(params_of(run))), cell
        assert run.metrics()["step"].to_list() == [10, 20]
        assert 0 <= manifest.results["test_accuracy"] <= 1, cell  # pyright: ignore
        assert probes.train_step.to_numpy().tolist() == [0, manifest.steps]
        adjoint = probes.log10_adjoint.sel(array="joint")
        assert np.isfinite(adjoint.isel(time=-1)).all(), cell
        # −∞ where every unit of a ReLU rests, but never undefined.
        assert not np.isnan(adjoint).any(), cell
        assert any(name.startswith("layer0/") for name in probes.parameter.to_numpy())
