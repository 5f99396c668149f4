"""A composition that is remembered is that which Hydra would make again."""

import pytest

from rnnjax.cells import CELLS
from rnnjax.cells.elman import Elman
from rnnjax.errors import UserError
from rnnjax.sweeps import hydra_session
from rnnjax.sweeps.hydra_session import session
from rnnjax.sweeps.resolve import Frame


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(hydra_session, "_KNOWN", {})
    monkeypatch.setattr(hydra_session, "_STORED", {})


@pytest.fixture
def made(monkeypatch):
    """The overrides of all compositions that Hydra made."""
    real, seen = hydra_session.compose, []

    def compose(name, overrides, **more):
        seen.append(overrides)
        return real(name, overrides, **more)

    monkeypatch.setattr(hydra_session, "compose", compose)
    return seen


def composed(rest=(), config_dir=None, own=(), **choices):
    with session(config_dir) as hydra:
        return Frame(*hydra.compose(choices, own, rest), hydra.options)


def test_the_same_choices_are_composed_once(made):
    one, other = composed(cell="lstm"), composed(cell="lstm", rest=["lr=1"])
    assert len(made) == 1
    assert (one.composed, one.choices) == (other.composed, other.choices)
    assert other.hydra.entries["overrides"]["task"] == ["lr=1"]
    assert one.hydra.entries["overrides"]["task"] == []
    assert composed(cell="gru").choices["cell"] == "gru"


def test_who_changes_a_composition_changes_no_other():
    one = composed(cell="lstm")
    before = one.composed["cell"].copy()
    one.composed["cell"]["forget_bias"] = 7.0
    assert composed(cell="lstm").composed["cell"] == before


def test_another_default_of_a_cell_is_seen():
    for default in (1, 1.0, True, 2):
        fields = {"__annotations__": {"own": type(default)}, "own": default}
        CELLS._entries["mine"] = type("Mine", (Elman,), fields)
        own = composed(cell="mine").composed["cell"]["own"]
        assert (own, type(own)) == (default, type(default))


def test_a_cell_that_is_gone_cannot_be_chosen():
    CELLS._entries["mine"] = Elman
    composed(cell="mine")
    del CELLS._entries["mine"]
    with pytest.raises(UserError, match="mine"):
        composed(cell="mine")


def test_the_folder_of_the_user_is_read_each_time(tmp_path, made):
    (tmp_path / "variant").mkdir()
    file = tmp_path / "variant" / "own.yaml"
    for rate in (0.1, 0.2):
        file.write_text(f"# @package _global_\nlr: {rate}\n")
        assert composed(variant="own", config_dir=tmp_path).composed["lr"] == rate
    assert len(made) == 2


def test_overrides_of_hydra_and_the_working_folder_count(tmp_path, made, monkeypatch):
    composed(cell="lstm", own=["hydra.job.name=mine"])
    composed(cell="lstm", own=["hydra.job.name=mine"])
    composed(cell="lstm")
    monkeypatch.chdir(tmp_path)
    there = composed(cell="lstm")
    assert len(made) == 4
    assert there.hydra.entries["runtime"]["cwd"] == str(tmp_path)


def test_few_compositions_are_remembered(made, monkeypatch):
    monkeypatch.setattr(hydra_session, "MOST", 2)
    for cell in ("lstm", "gru", "elman", "lstm", "elman"):
        composed(cell=cell)
    assert len(made) == 4
    assert len(hydra_session._KNOWN) == 2
