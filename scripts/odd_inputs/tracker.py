"""W&B copies: of runs that were there, and as W&B's own variables say."""

from pathlib import Path

from scripts.odd_inputs.case import TINY, case, command, expect
from scripts.odd_inputs.samples import npz


def _copies(root: str) -> list[Path]:
    return sorted(Path(root).glob("wandb/offline-run-*/run-*.wandb"))


def _train(*words: str, **environ: str) -> str:
    """A sweep of two runs, offline and without an account."""
    path = npz("a.npz")
    plain = [*TINY.split(), "task=arrays", f"task.path={path}", "out=pool"]
    environ = {"NETRC": str(Path("none").absolute()), "WANDB_API_KEY": ""} | environ
    return command(["train", "-m", *plain, "seed=0,1", *words], **environ)


@case("never")
def copies_of_runs_that_were_there() -> None:
    _train()
    _train("tracker=wandb")
    expect(len(_copies("pool")) == 2, f"{len(_copies('pool'))} copies")
    _train("tracker=wandb")
    expect(len(_copies("pool")) == 2, "a copy was made again")


@case("never")
def one_copy_of_each_length_of_a_run() -> None:
    _train("tracker=wandb")
    _train("tracker=wandb", "steps=4")
    names = [file.name for file in _copies("pool")]
    expect(len(names) == len(set(names)) == 4, f"copies {names} of 4 runs")


@case("never")
def a_folder_and_a_project_of_the_environment() -> None:
    _train("tracker=wandb", WANDB_DIR="else", WANDB_PROJECT="their-project")
    expect(not _copies("pool"), "copies in the pool, not in WANDB_DIR")
    expect(len(_copies("else")) == 2, f"{len(_copies('else'))} copies in WANDB_DIR")


@case("never")
def copies_that_the_environment_forbids() -> None:
    said = _train("tracker=wandb", WANDB_MODE="disabled")
    expect(not Path("pool/wandb").exists(), "copies in spite of WANDB_MODE=disabled")
    expect("WANDB_MODE=disabled" in said, "no word on WANDB_MODE=disabled")


@case("never")
def online_without_an_account() -> None:
    said = _train("tracker=wandb", WANDB_MODE="online")
    expect(len(_copies("pool")) == 0, "offline copies in spite of WANDB_MODE=online")
    lines = [line for line in said.splitlines() if "no W&B copy" in line]
    expect(len(lines) == 1, f"{len(lines)} lines on the missing account")


@case("never")
def a_mode_that_there_is_not() -> None:
    said = _train("tracker=wandb", WANDB_MODE="ofline")
    expect("WANDB_MODE=ofline" in said, "no word on WANDB_MODE=ofline")
    expect("after" in said or "report" in said, "the runs are not there")


@case("must")
def a_project_with_a_slash() -> None:
    _train("tracker=wandb", "tracker.project=team/project")
