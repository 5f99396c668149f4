"""The worked examples of docs/adding.md can be applied, and do what they say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr


ROOT = Path(__file__).parents[1]

PAGE = ROOT / "docs" / "adding.md"


@pytest.mark.slow
def test_the_worked_examples(tmp_path: Path):
    for folder in ("rnnjax", "conf"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    text = PAGE.read_text()
    diffs = re.findall(r"```diff\n(.*?)```", text, re.DOTALL)
    assert len(diffs) == 4

    def run(*command: str, given: str | None = None) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, input=given, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for diff in diffs:
        run("git", "apply", "-", given=diff)
    rnnjax = (sys.executable, "-m", "rnnjax")
    made = ("cell=residual", "cell.alpha=0.2", "task=majority", "task.length=7")
    small = ("model.hidden=4", "batch=4", "steps=2")
    run(*rnnjax, "train", *made, *small, "optimizer=signum", "optimizer.decay=0.95")
    shown = run(*rnnjax, "probe", *made, "model.hidden=4", "sections=dynamics")
    assert "change of the state in a step" in shown
    (file,) = tmp_path.rglob("probe.nc")
    change = xr.load_dataset(file, engine="h5netcdf").step_change
    assert change.dims == ("layer", "time", "sentence") and change.sizes["time"] == 7
    assert "norm of the change" in change.attrs["definition"]
