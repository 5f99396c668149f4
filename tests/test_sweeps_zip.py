"""Zip sweeps: lists of whole configurations beside products."""

from pathlib import Path

import pytest

from rnnjax.cli.main import main
from rnnjax.sweeps.compose import compose, compose_sweep, plan


PAIR = "zip=[{cell: lstm, lr: 1e-3}, {cell: gru, lr: 3e-3}]"


def chosen(*overrides: str, **options) -> list[tuple]:
    jobs = plan(overrides, multirun=True, **options).jobs
    return [(job.config.cell, job.config.lr, job.config.seed) for job in jobs]


def test_entries_stand_side_by_side_and_in_product_with_the_rest():
    wanted = [("lstm", 1e-3, 0), ("lstm", 1e-3, 1), ("gru", 3e-3, 0), ("gru", 3e-3, 1)]
    assert chosen(PAIR, "seed=0,1") == wanted
    assert chosen("zip={cell: lstm, lr: 1e-3},{cell: gru, lr: 3e-3}", "seed=0,1") == (
        wanted
    )
    turned = sorted(wanted, key=lambda one: one[2])
    assert chosen("seed=0,1", PAIR) == turned
    names = [job.name for job in compose_sweep([PAIR, "seed=0,1"])]
    assert names[0] == "lstm-opinion-lr=0.001-seed=0" and len(set(names)) == 4


def test_entries_may_differ_in_their_keys():
    one, other = compose_sweep(
        ["zip=[{task.distance: 9, variant: lstm_chrono}, {model: {hidden: 7}}]"]
    )
    assert dict(one.config.task_options)["distance"] == 9 and one.label == "lstm_chrono"
    assert other.config.model.hidden == 7 and other.label == "elman"
    assert dict(other.config.task_options)["distance"] == 4
    assert (one.name, other.name) == (
        "lstm_chrono-opinion-distance=9",
        "elman-opinion-hidden=7",
    )


def test_a_job_of_a_zip_can_be_run_alone():
    for job in compose_sweep([PAIR, "seed=0,1"]):
        alone = compose(*job.overrides)
        assert alone.config == job.config and alone.resolved == job.resolved


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment with a zip, and a cell of the user's."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "pairs.yaml").write_text(
        "# @package _global_\n"
        "sweep:\n"
        "  zip:\n"
        "    - {cell: lstm, lr: 1e-3}\n"
        "    - {cell: gru, lr: 3e-3}\n"
        "    - {cell: gru, lr: 1e-3}\n"
        "  seed: [0, 1]\n"
    )
    (tmp_path / "mine.py").write_text(
        "from rnnjax.cells import Elman\n\nclass Mine(Elman):\n    'Mine.'\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_zip_of_an_experiment(folder):
    words, given = ["experiment=pairs"], {"config_dir": folder}
    assert len(chosen(*words, **given)) == 6
    # What is given beside it goes before what it states.
    assert chosen(*words, "lr=0.5", "seed=0", **given) == [
        ("lstm", 0.5, 0),
        ("gru", 0.5, 0),
    ]
    assert chosen(*words, "zip=[{seed: 7, cell: lru}]", **given) == [("lru", 1e-3, 7)]


def test_a_cell_of_the_users_in_a_zip(folder):
    found = chosen("zip=[{cell: mine.py:Mine, lr: 1e-3}, {cell: lstm, lr: 1e-2}]")
    assert found == [("Mine", 1e-3, 0), ("lstm", 1e-2, 0)]
    job = compose_sweep(["zip=[{cell: mine.py:Mine, lr: 1e-3}]"])[0]
    assert job.resolved["paths"] == {"cell": f"{folder / 'mine.py'}:Mine"}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-m", "zip=[{cell: lstn}]"], "did you mean lstm?"),
        (["-m", "zip=[{cell: lstm}, {lr: fast}]"], "lr=fast must be a number"),
        (["-m", "zip=[{cell: lstm}, {stpes: 3}]"], "did you mean steps"),
        (
            ["-m", "zip=[{cell: lstm}]", "cell=gru"],
            "cell is given both inside and outside of zip",
        ),
        (["-m", "zip=[cell, gru]"], "zip=cell must be a list of mappings"),
        (["-m", "zip=3"], "must be a list of mappings"),
        (["-m", "zip=[]"], "has no configurations"),
        (["-m", "zip=[{}]"], "must be a list of mappings"),
        ([PAIR], "zip with several values is a sweep; add -m"),
    ],
)
def test_mistakes(words, part, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    err = capsys.readouterr().err
    assert part in err and err.count("\n") == 1 and not list(tmp_path.iterdir())
