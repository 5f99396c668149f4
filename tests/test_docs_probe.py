"""The code of docs/probe_your_model.md."""

import re
from pathlib import Path
from typing import Any

import jax
import pytest


PAGE = Path(__file__).parents[1] / "docs" / "probe_your_model.md"


@pytest.mark.slow
def test_the_code_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)  # where W&B puts its folder
    monkeypatch.setenv("WANDB_SILENT", "true")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "page.py"
    file.write_text("\n".join(blocks))
    names: dict[str, Any] = {}
    with jax.numpy_rank_promotion("allow"):
        exec(compile(file.read_text(), str(file), "exec"), names)
    assert f"loop0 ({file}:" in capsys.readouterr().out
    assert names["seen"].sizes["example"] == 8
