"""Command lines that ask for something absurd."""

from scripts.odd_inputs.case import add, case, command, expect, process
from scripts.odd_inputs.samples import npz


ABSURD = (
    "steps={}",
    "steps=[]",
    "steps=[5]",
    "steps=true",
    "steps=1.5",
    "steps=99999999999999999999",
    "lr={a:1}",
    "lr=nan",
    "lr=inf",
    "lr=-0.1",
    "seed={}",
    "seed=-1",
    "seed=4294967296000",
    "batch=null",
    "batch=0",
    "shards=3 batch=4",
    "cell=[lstm,gru]",
    "cell.bias={}",
    "task.distance={}",
    "activation={}",
    "probe.steps={}",
    "probe.steps=[-1]",
    "model.hidden={}",
    "model.hidden=0",
    "clipping.threshold={}",
    "name={}",
    "name=../up",
    "out={}",
    "out=",
    "log_every=0",
    "steps=${steps}",
    "lr=${nothing}",
)
for _words in ABSURD:
    add(
        f"train {_words}",
        lambda words=_words: command(["train", "-n", *words.split()]),
        "must",
    )


@case()
def a_whole_number_written_as_a_power() -> None:
    said = command(["train", "-n", "task.distance=1e3"])
    expect("task.distance=1000" in said or "distance: 1000" in said, said[:80])


SWEPT = (
    "seed=range(0,10,0)",
    "seed=range(5,0)",
    "lr=interval(0,1)",
    "seed=choice()",
    "zip={}",
    "zip=[]",
    "zip=[1,2]",
    "steps={},{}",
    "cell=glob(nothing*)",
)
for _words in SWEPT:
    add(
        f"train -m {_words}",
        lambda words=_words: command(["train", "-m", "-n", words]),
        "must",
    )

SEARCHED = (
    "lr=interval(1,0.1)",
    "lr=tag(log,interval(0,1))",
    "model.hidden=interval(1,1e12)",
    "seed=interval(0,10)",
    "task.distance=interval(1,inf)",
)
for _words in SEARCHED:
    add(
        f"search {_words}",
        lambda words=_words: command(
            ["search", words, "--trials", "2", "steps=1", "probe=off", "out=pool"]
        ),
        "must",
    )


@case("must")
def out_that_is_a_file() -> None:
    command(["train", "steps=1", "probe=off", f"out={npz('pool.npz')}"])


@case("must")
def a_hundred_million_jobs() -> None:
    """In a process with little memory: a list of them would take all there is."""
    process(["train", "-m", "-n", "seed=range(100000000)"], memory=8)


@case()
def an_empty_mapping_for_a_group() -> None:
    """It sets nothing: the job is that of no word at all."""
    plain = _job("task.distance=4")
    for group in ("model", "eval", "cell", "task", "optimizer", "probe"):
        said = _job(f"{group}={{}}", "task.distance=4")
        expect(said == plain, f"{group}={{}} changes the job")


def _job(*words: str) -> str:
    """The line of the program in what a dry run prints."""
    said = command(["train", "-n", *words])
    return next(line for line in said.splitlines() if "opinion" in line)


@case("must")
def a_sum_in_a_list_of_steps() -> None:
    command(["train", "-n", "probe.steps=[1+1]"])


@case("never")
def the_same_number_in_three_spellings() -> None:
    said = command(["train", "-n", "lr=1e-3", "steps=10", "task.distance=4"])
    for lr in ("0.001", "1.0e-3"):
        other = command(["train", "-n", f"lr={lr}", "steps=10", "task.distance=4"])
        expect("1 jobs" in said and "1 jobs" in other, "no job")
