"""The command line: exit status, one sentence for each mistake, nothing half-done."""

import subprocess
import sys
import types
from pathlib import Path

import polars as pl
import pytest

import rnnjax.report
from rnnjax.cli import commands
from rnnjax.cli.main import main
from rnnjax.cli.parsing import LISTS
from rnnjax.errors import UserError
from rnnjax.store.pool import Pool
from rnnjax.sweeps.settings import LaunchSettings
from tests.store_samples import store_run


class Launched(list):
    """Stands for the launcher and keeps what it was called with."""

    failed = 0
    outcome: type[BaseException] | None = None

    def __call__(self, jobs, settings, command, progress, callbacks):
        self.append((list(jobs), settings, command))
        if self.outcome is not None:
            raise self.outcome
        sweep, runs = Path("sweep"), ("the run",)
        return types.SimpleNamespace(sweep=sweep, runs=runs, failed=self.failed)


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launched:
    """An empty present folder, and a launcher that launches nothing."""
    spy = Launched()
    module = types.ModuleType("rnnjax.sweeps.launch")
    module.launch = spy  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(commands, "show_run", lambda run: None)
    monkeypatch.setattr(rnnjax.report, "summary", lambda folder: "the summary")
    build = lambda folder: folder / "report.html"
    monkeypatch.setattr(rnnjax.report, "build", build, raising=False)
    monkeypatch.chdir(tmp_path)
    return spy


# Words behind `rnnjax`, and what the sentence has to contain.
MISTAKES = [
    ("probe sections=adjoint", ["adjoint", "did you mean adjoints?"]),
    ("probe step=3", ["run=DIR"]),
    ("probe run=nowhere", ["nowhere", "no such folder"]),
    ("probe run=. step=x", ["step=x", "number of updates"]),
    ("probe weight=U", ["weight=V[0,0]"]),
    ("probe probe=off", ["probe=full"]),
    ("probe cell=lstn", ["lstn", "did you mean lstm"]),
    ("trian", ["trian", "did you mean train?"]),
    ("train --multrun", ["--multrun", "--multirun"]),
    ("list cell", ["cell", "did you mean cells?"]),
    ("list", ["cells"]),
    ("report", ["DIR"]),
    ("runs nowhere", ["nowhere"]),
    ("runs a b", ["'b'"]),
    ("runs . --csv a --parquet b", ["--parquet", "not allowed with", "--csv"]),
    ("compare a", ["RUN"]),
    ("compare nowhere/a b", ["there is no folder 'nowhere'"]),
    ("compare . a", ["'.' is not the directory of a run"]),
    ("train stpes=3", ["stpes", "did you mean steps"]),
    ("train hidden=64", ["hidden", "did you mean model.hidden?"]),
    ("train model=64", ["model", "model.hidden"]),
    ("train cell=lstm cell.forget_biass=1", ["forget_biass", "mean cell.forget_bias?"]),
    ("train cell.chrono=9", ["cell.chrono", "with cell=elman", "or gru"]),
    ("train optimizer=sgd optimizer.b1=0.5", ["optimizer.b1", "optimizer=adam"]),
    ("train cell.name=lstm", ["cell.name", "did you mean cell?"]),
    ("train cell=lstn", ["lstn", "did you mean lstm?"]),
    ("train task=adding task.lenght=9", ["task.lenght", "did you mean task.length?"]),
    ("train task=opinon", ["opinon", "did you mean opinion?"]),
    ("train variant=elman_rel", ["elman_rel", "elman_relu"]),
    ("train experiment=mian", ["mian", "main"]),
    ("train optimizer=adm", ["adm", "did you mean adam"]),
    ("train activation=sigmoyd", ["sigmoyd", "did you mean sigmoid"]),
    ("train init=orthogonl", ["orthogonl", "did you mean orthogonal?"]),
    ("train cell.recurrent_init=identty", ["identty", "did you mean identity?"]),
    ("train init=normal", ["init.std needs a value"]),
    ("train cell=lru activation=tanh", ["activation=tanh", "lru"]),
    ("train cell=rhn cell.depth=0", ["cell.depth=0", "from 1 to"]),
    ("train cell=scrn cell.context=0", ["cell.context=0", "from 1 to"]),
    ("train cell=scrn cell.context=-4", ["cell.context=-4", "from 1 to"]),
    ("train cell=urnn cell.permutation_seed=-1", ["permutation_seed=-1", "from 0 to"]),
    ("train cell=lru init=identity", ["init=identity", "lru"]),
    ("train activation=relu cell.activation=tanh", ["activation", "give only one"]),
    ("train steps=many", ["steps=many", "a whole number"]),
    ("train steps=1.5", ["steps=1.5", "a whole number"]),
    ("train steps=true", ["steps=true", "a whole number"]),
    ("train steps=null", ["steps=null", "a whole number"]),
    ("train seed=", ["seed=", "a whole number"]),
    ("train lr=fast", ["lr=fast", "a number"]),
    ("train lr=nan", ["lr=nan", "a number"]),
    ("train lr=-1", ["lr=-1", "out of range"]),
    ("train seed=-1", ["seed=-1", "out of range"]),
    ("train batch=0", ["batch=0", "out of range"]),
    ("train model.hidden=0", ["model.hidden=0", "out of range"]),
    ("train model.bidirectional=1", ["model.bidirectional=1", "true or false"]),
    ("train cell=gru cell.chrono=width", ["cell.chrono=width", "length", "null"]),
    ("train probe.steps=[0,x]", ["probe.steps=[0,x]", "a whole number"]),
    ("train task.distance=1", ["task.distance", "2"]),
    ("train task.form=sentimant", ["task.form", "sentiment"]),
    ("train task=adding task.length=0", ["task.length", "0"]),
    ("train stale=keep", ["stale=keep", "accept"]),
    ("train tracker=wandb tracker.mode=on", ["tracker.mode=on", "offline"]),
    ("train pack.capacity=1", ["pack.capacity=1", "at least 2"]),
    ("train lr=${learning_rate}", ["lr=", "learning_rate"]),
    ("train seed=0,1", ["seed", "-m"]),
    ("train experiment=main", ["experiment=main", "-m"]),
    ("train -m out=a,b", ["out", "sweep"]),
    ("train -m lr=interval(0,1)", ["lr=interval(0,1)", "range()"]),
    ("train -m seed=0,1,-1", ["seed=-1"]),
    ("train -m cell=lstm,gru cell.forget_bias=1", ["cell.forget_bias", "cell=gru"]),
    ("train seed", ["'seed'", "key=value"]),
    ("train =3", ["'=3'", "key=value"]),
    ("train x=f(", ["x=f("]),
    ("train ~seed=0", ["~seed=0"]),
    ("train hydra.run.dir=x", ["hydra.run.dir"]),
    ("train cell=nowhere.py:Mine", ["nowhere.py", "no file"]),
    ("train name=a/b", ["name=a/b", "folder"]),
    ("train steps={}", ["steps={}", "a whole number"]),
    ("train steps=1e400", ["steps=inf", "a whole number"]),
    ("train steps=10.5", ["steps=10.5", "a whole number"]),
    ("train seed=true", ["seed=true", "a whole number"]),
    ("train seed=" + "9" * 5000, ["cannot read", "seed=999"]),
    ("train lr=" + "9" * 400, ["lr=999", "a number"]),
    ("train lr=[]", ["lr=[]", "a number"]),
    ("train cell={}", ["cell={}", "give a name"]),
    ("train cell=[]", ["unknown cell '[]'"]),
    ("train task=null", ["unknown task 'null'"]),
    ("train model={}", ["model", "model.hidden"]),
    ("train model={hidden:{}}", ["model.hidden={}", "a whole number"]),
    (
        "train cell=lstm cell={activation:relu}",
        ["cell is given both by name", "cell.KEY="],
    ),
    ("train -m zip=[{steps:{}}]", ["steps={}", "a whole number"]),
    ("train lr=${model}", ["lr"]),
    ("train seed=${oc.env:HOME}", ["seed=", "a whole number"]),
    ("train -m seed=range(1e400)", ["range(1e400)", "finite"]),
    ("train -m seed=range(0,inf)", ["range(0,inf)", "finite"]),
    ("train -m seed=range(nan)", ["range(nan)", "finite"]),
    ("train -m seed=range(1000000000)", ["1,000,000,000 values", "at most 100,000"]),
    ("train -m lr=range(0,1,1e-300)", ["about 1e299 values"]),
    ("train -m seed=shuffle(range(1e9))", ["1,000,000,000 values"]),
    ("train -m seed=range(0,1,0)", ["range(0,1,0)", "never ends"]),
    ("train -m seed=range(5,1)", ["range(5,1)", "has no values"]),
    ("train -m seed=range(9999) batch=range(1,9999)", ["99,970,002 jobs"]),
    ("train -m seed=glob(*)", ["glob(*)", "has no values"]),
    ("train -m seed=choice()", ["choice()"]),
    ("train -m seed=choice(choice(1,2),3)", ["inside another list"]),
    ("train -m seed=[range(3)]", ["inside another list"]),
    ("train seed=" + "[" * 3000, ["cannot read"]),
    ("search lr=interval(0,inf)", ["lr=interval(0,inf)", "finite"]),
    ("search lr=interval(0,1) --trials 1000000000", ["1,000,000,000 jobs"]),
    ("train out=O'Brien", ["out=O'Brien", """'out="O'"'"'Brien"'"""]),
    ("train out=runs[v2]", ["out=runs[v2]", """'out="runs[v2]"'"""]),
    ("train out=a,b", ["add -m", """'out="a,b"'"""]),
    ("train out=", ["out", "folder"]),
    ("train --config-dir nowhere", ["nowhere"]),
]


@pytest.mark.parametrize(("words", "parts"), MISTAKES, ids=[w for w, _ in MISTAKES])
def test_a_mistake_gets_one_sentence(words, parts, launched, tmp_path, capsys):
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("rnnjax: ") and err.count("\n") == 1
    missing = [part for part in parts if part not in err]
    assert not missing, err
    assert not launched and not list(tmp_path.iterdir())


def test_all_jobs_are_checked_before_the_first_is_launched(launched):
    assert main(["train", "-m", "task.distance=16,4,1"]) == 2
    assert not launched


def test_options_may_stand_anywhere(launched):
    for words in (
        "-m seed=0,1 cell=gru",
        "cell=gru -m seed=0,1",
        "cell=gru seed=0,1 -m",
    ):
        assert main(["train", *words.split()]) == 0
    runs = [[(j.config.cell, j.config.seed) for j in jobs] for jobs, _, _ in launched]
    assert runs == [[("gru", 0), ("gru", 1)]] * 3


def test_demo_is_the_main_sweep(launched, capsys):
    assert main(["demo", "task.distance=4", "task.form=sentiment", "seed=0"]) == 0
    ((jobs, settings, command),) = launched
    assert len(jobs) == 8 and {job.config.steps for job in jobs} == {2000}
    assert settings == LaunchSettings() and settings.out == "runs"
    assert command == "rnnjax demo task.distance=4 task.form=sentiment seed=0"
    shown = capsys.readouterr().out
    assert "the summary" in shown and "report.html" in shown


@pytest.mark.parametrize(
    ("failed", "outcome", "status", "message"),
    [
        (0, None, 0, ""),
        (2, None, 1, ""),
        (0, KeyboardInterrupt, 130, "rnnjax: interrupted\n"),
        (0, UserError, 2, "rnnjax: \n"),
    ],
)
def test_exit_status(launched, capsys, failed, outcome, status, message):
    launched.failed, launched.outcome = failed, outcome
    assert main(["train", "steps=1"]) == status
    assert capsys.readouterr().err == message


def test_dry_run_shows_the_jobs_and_launches_none(launched, capsys):
    assert main(["train", "-m", "-n", "lr=1e-3,1e-2", "probe.steps=[0,5]"]) == 0
    out = capsys.readouterr().out
    assert "1 groups" in out and "[0,5]" in out and not launched


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("cells", ["lstm", "forget_bias=1.0", "Hochreiter & Schmidhuber"]),
        ("activations", ["sigmoid", "0.25"]),
        ("tasks", ["opinion", "distance=4", "form=sentiment"]),
        ("variants", ["lstm_chrono", "cell.chrono=length", "lr=3e-3"]),
        ("inits", ["orthogonal", "gain=1.0", "std=?"]),
        ("optimizers", ["rmsprop", "decay=0.9"]),
        ("experiments", ["main", "sweep.seed=[0,1]"]),
    ],
)
def test_lists(what, parts, capsys):
    assert main(["list", what]) == 0
    out = capsys.readouterr().out
    assert [part for part in parts if part not in out] == []
    assert what in LISTS


def test_a_table_of_runs_shows_what_differs(tmp_path, capsys):
    pool = Pool(tmp_path / "runs")
    for cell, seed in (("lstm", 0), ("gru", 3)):
        store_run(pool, cell, seed)
    assert main(["runs", str(pool.path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if "run_id" in row][0][1:-1:2] == [
        *("run_id", "status", "cell.name", "seed", "accuracy", "run_seconds")
    ]
    shown = {tuple(row[5:10:2]) for row in rows if "done" in row}
    assert shown == {("lstm", "0", "0.5"), ("gru", "3", "0.8")}
    (tmp_path / "empty").mkdir()
    assert main(["runs", str(tmp_path / "empty")]) == 2


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Two cells with two seeds each."""
    pool = Pool(tmp_path / "runs")
    for cell, seed in (("lstm", 0), ("gru", 0), ("lstm", 3), ("gru", 3)):
        store_run(pool, cell, seed, results={"test_accuracy": 0.5 + seed / 10})
    return pool


def shown(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The rows of a printed table, their cells."""
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("│┃ ").replace("┃", "│") for line in lines if line[:1] in "│┃"]
    return [[cell.strip() for cell in row.split("│")] for row in rows]


def test_a_table_of_chosen_runs(pool, capsys):
    words = ["--where", "cell = 'lstm' and test_accuracy > .4", "--sort", "seed", "-r"]
    assert main(["runs", str(pool.path), *words]) == 0
    head, *rows = shown(capsys)
    # Where all runs are of one cell, only the seed tells them apart.
    assert head[2:] == ["cell.name", "seed", "test_accuracy", "run_seconds"]
    assert [row[2:5] for row in rows] == [["lstm", "3", "0.8"], ["lstm", "0", "0.5"]]
    assert main(["runs", str(pool.path), "--by", "cell"]) == 0
    head, *rows = shown(capsys)
    assert head == ["cell.name", "runs", "test_accuracy"]
    assert [row[:2] for row in rows] == [["lstm", "2"], ["gru", "2"]]
    assert rows[0][2].startswith("0.65 [") and rows[0][2] == rows[1][2]
    assert main(["runs", str(pool.path), "--by", "seed"]) == 0
    assert "a group mixes runs with different cell.name" in capsys.readouterr().out


def test_a_long_table_shows_its_beginning(pool, capsys, monkeypatch):
    monkeypatch.setattr("rnnjax.cli.tables.SHOWN", 3)
    assert main(["runs", str(pool.path), "--sort", "seed"]) == 0
    out = capsys.readouterr().out
    assert "the first 3 of 4 runs" in out and out.count("done") == 3


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_of_runs_as_a_file(pool, kind, tmp_path, capsys):
    file = tmp_path / f"out.{kind}"
    words = [str(pool.path), f"--{kind}", str(file), "--sort", "cell,seed"]
    assert main(["runs", *words]) == 0
    assert "4 rows written" in capsys.readouterr().out
    frame = getattr(pl, f"read_{kind}")(file)
    assert frame["cell.name"].to_list() == ["gru", "gru", "lstm", "lstm"]
    assert frame["seed"].to_list() == [0, 3, 0, 3] and "cell.hidden" in frame.columns


def test_columns_that_are_none(pool, capsys):
    for option, value in (("--sort", "sead"), ("--by", "sead"), ("--where", "sead=1")):
        assert main(["runs", str(pool.path), option, value]) == 2
        assert "unknown column 'sead'; did you mean seed" in capsys.readouterr().err


def test_two_runs_are_compared(pool, capsys):
    one, other = pool.runs()[:2]
    key = other.manifest().run_id
    assert main(["compare", str(one.path), f"{pool.path}/{key[:8]}"]) == 0
    rows = shown(capsys)
    assert ["configuration", "cell.name", "lstm", "gru"] in rows
    assert ["result", "test_accuracy", "0.5", "0.5"] in rows
    assert main(["compare", str(one.path), f"{pool.path}/zz"]) == 2


def test_help_and_version_import_nothing_heavy(tmp_path):
    code = (
        "import sys; from rnnjax.cli.main import main\n"
        "for words in ['--help'], ['train', '-h'], ['--version'], []:\n"
        "    assert main(words) == 0\n"
        "heavy = {'jax', 'flax', 'hydra', 'omegaconf', 'polars', 'wandb', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "rnnjax train -m" in done.stdout and "--config-dir" in done.stdout


def test_the_module_is_the_command(tmp_path):
    words = [sys.executable, "-m", "rnnjax", "trian"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "rnnjax: unknown command 'trian'; did you mean train?\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_standard_streams_may_be_closed(pool, closed):
    script = f'"$0" -m rnnjax "$@" {closed}'
    words = ["sh", "-c", script, sys.executable]
    root = Path(__file__).parents[1]
    for command, status in (["runs", pool.path], 0), (["x"], 2):
        done = subprocess.run([*words, *command], cwd=root, capture_output=True)
        assert done.returncode == status
        assert b"Traceback" not in done.stderr
        assert bool(done.stderr) == (status == 2 and "2>" not in closed)
        assert bool(done.stdout) == (status == 0 and closed == "2>&-")


def test_a_present_folder_that_was_removed(pool, tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["runs", f"../{pool.path.name}"]) == 2
    said = "the current folder no longer exists"
    assert capsys.readouterr().err == f"rnnjax: {said}\n"
    assert main(["runs", str(pool.path)]) == 0
