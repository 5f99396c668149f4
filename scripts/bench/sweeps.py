"""What a sweep of many small runs costs, and where the time goes.

``launchers`` compares ways to train the same 64 runs (3 cells × learning rates × seeds,
T = 50, n = 32, 200 updates), each as a command of its own with imports and all: packed,
our basic and joblib launchers, an application under Hydra's basic launcher, and one
process for each run, two at a time. The last two are timed on a part of the runs and
scaled. ``cold`` has no program compiled before, ``warm`` all of them.
``shares`` says what a packed sweep spends its time on, ``overhead`` what one more run
in a pack costs, ``compose`` what 1 000 jobs cost before the first starts, ``pool`` how
a pool of 10 000 runs answers, ``landscape`` how long the probe of 10 000 untrained
networks takes. ``--only launchers-packed`` takes one way alone.
"""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from rnnjax.store import atomic, writing
from rnnjax.store import environment as environments
from rnnjax.store.manifest import Manifest, now
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import run_path
from rnnjax.store.writing import begin_run, finish_run
from rnnjax.sweeps import compose, pack_run
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.hydra_node import write_folder
from rnnjax.sweeps.initialisation_grid import landscape
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.settings import LaunchSettings, PackConfig
from rnnjax.training.compiled import Compiled
from rnnjax.training.loop import PackTraining


ROOT = Path(__file__).parents[2]
CELLS, RATES, SEEDS = ("elman", "gru", "lstm"), ("1e-3", "3e-3"), 11
SIZES = ["task=adding", "task.length=50", "model.hidden=32", "steps=200", "probe=off"]
RUNS = 64
"""Of the 66 points; the last two are left out."""

APP = """
import hydra, rnnjax
@hydra.main(version_base="1.3", config_path=".", config_name="own")
def main(config):
    keys = ("cell", "lr", "seed")
    words = [f"{key}={config[key]}" for key in keys]
    return rnnjax.train(*config.sizes, *words).results["test_loss"]
main()
"""


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """Rows of those parts whose name contains `only`."""
    del seconds  # each part takes what it takes
    parts = {
        "launchers": launchers,
        "shares": shares,
        "overhead": overhead,
        "compose": composition,
        "pool": pool,
        "landscape": untrained,
    }
    for name, part in parts.items():
        if only.partition("-")[0] in name:
            yield from part(only.partition("-")[2])


def row(what: str, seconds: float, runs: int, note: str = "") -> dict[str, Any]:
    """One line of the table."""
    each = 1e3 * seconds / runs
    return {"what": what, "seconds": seconds, "runs": runs, "ms a run": each, "": note}


# -- ways to train the same runs ---------------------------------------------------


def points() -> list[str]:
    """The jobs, one command line each."""
    made = [
        f"cell={cell} lr={rate} seed={seed}"
        for seed in range(SEEDS)
        for rate in RATES
        for cell in CELLS
    ]
    return made[:RUNS]


def launchers(only: str = "") -> Iterator[dict[str, Any]]:
    """Wall time of the same runs, by launcher, cold and warm."""
    entries = ", ".join(
        "{" + p.replace(" ", ", ").replace("=", ": ") + "}" for p in points()
    )
    sweep = ["train", "-m", *SIZES, f"zip=[{entries}]"]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        ways: dict[str, Callable[[], tuple[float, int]]] = {
            "packed": lambda: (bench.rnnjax(*sweep), RUNS),
            "basic": lambda: (bench.rnnjax(*sweep, "launcher=basic"), RUNS),
            "joblib": lambda: (
                bench.rnnjax(*sweep, "launcher=joblib", "launcher.workers=2"),
                RUNS,
            ),
            "Hydra's basic": lambda: bench.hydra_basic(12),
            "process a run": lambda: bench.processes(6),
        }
        for way, function in ways.items():
            if only in way:
                # Hydra's is timed as a difference, from which compiling would fall out
                states = ("warm",) if way.startswith("Hydra") else ("cold", "warm")
                for state in states:
                    if state == "cold":
                        bench.forget()
                    bench.empty()
                    took, runs = function()
                    note = "" if runs == RUNS else f"{runs} runs took {took:.1f} s"
                    whole = took * RUNS / runs
                    yield row(f"{way}, {state}", whole, RUNS, note)


@dataclasses.dataclass(frozen=True)
class Bench:
    """Commands in a folder of their own, with a cache of programs of their own."""

    folder: Path

    def empty(self) -> None:
        """No pool of runs."""
        shutil.rmtree(self.folder / "runs", ignore_errors=True)

    def forget(self) -> None:
        """No compiled program."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def python(self, *words: str, **extra: str) -> float:
        """Wall seconds of a command; raises if it fails."""
        own = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(self.folder / "cache")}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=os.environ | own | extra,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{words}: {done.stderr[-2000:]}")
        return took

    def rnnjax(self, *words: str, **extra: str) -> float:
        """Of an `rnnjax` command, without the report of a sweep."""
        code = (
            "import sys, rnnjax.report, rnnjax.cli.commands as c; "
            "from rnnjax.cli.main import main; "
            "rnnjax.report.summary = lambda folder: ''; "
            "c.report = lambda folder: 0; sys.exit(main())"
        )
        return self.python("-c", code, *words, **extra)

    def hydra_basic(self, runs: int) -> tuple[float, int]:
        """An application of Hydra's, whose basic launcher calls it for each run."""
        (self.folder / "app.py").write_text(APP)
        shown = "".join(f"\n  - {word}" for word in SIZES)
        text = f"cell: elman\nlr: 1e-3\nseed: 0\nsizes:{shown}\n"
        (self.folder / "own.yaml").write_text(text)
        whole = [f"cell={','.join(CELLS)}", f"seed=range({runs // 3})"]
        few = [f"cell={','.join(CELLS)}", "seed=0"]
        sweep = "hydra.sweep.dir=out"
        self.python("app.py", "-m", *few, sweep)  # compiles
        self.empty()
        first = self.python("app.py", "-m", *few, sweep)
        self.empty()
        took = self.python("app.py", "-m", *whole, sweep)
        # start of the process aside, which is paid once
        return (took - first) * RUNS / (runs - 3) + first, RUNS

    def processes(self, runs: int) -> tuple[float, int]:
        """`rnnjax train` for each run, two at a time, on one device each."""
        one = {"JAX_NUM_CPU_DEVICES": "1"}
        began = time.perf_counter()
        one_by_one: Any = {"backend": "threading", "batch_size": 1}
        Parallel(2, **one_by_one)(
            delayed(self.rnnjax)("train", *SIZES, *point.split(), **one)
            for point in points()[:runs]
        )
        return time.perf_counter() - began, runs


# -- where the time goes -----------------------------------------------------------


@contextlib.contextmanager
def stopwatch(places: Mapping[str, tuple[Any, str]]) -> Iterator[dict[str, float]]:
    """Seconds inside of functions, by label, summed over threads."""
    total: dict[str, float] = defaultdict(float)
    lock = threading.Lock()
    with contextlib.ExitStack() as stack:
        for label, (owner, name) in places.items():
            inner = getattr(owner, name)

            def timed(
                *args: Any, _f: Any = inner, _label: str = label, **kw: Any
            ) -> Any:
                began = time.perf_counter()
                try:
                    return _f(*args, **kw)
                finally:
                    with lock:
                        total[_label] += time.perf_counter() - began

            setattr(owner, name, timed)
            stack.callback(setattr, owner, name, inner)
        yield total


def shares(only: str = "") -> Iterator[dict[str, Any]]:
    """A packed sweep of the 64 runs with a W&B copy of each, in this process."""
    places = {
        "compilation (in threads, beside running)": (Compiled, "prepare"),
        "running": (PackTraining, "run"),
        "storing: opening": (pack_run.PackRun, "_begin"),
        "storing: .hydra (in threads, while running)": (pack_run, "_note"),
        "storing: sealing": (pack_run, "seal"),
        "storing: index": (Pool, "add"),
        "W&B": (Copies, "add"),
    }
    began = time.perf_counter()
    words = [*SIZES, "tracker=wandb", f"cell={','.join(CELLS)}"]
    words += [f"lr={','.join(RATES)}", f"seed=range({SEEDS})"]
    jobs = compose.plan(words, multirun=True).jobs[:RUNS]
    yield row("composition", time.perf_counter() - began, RUNS)
    with tempfile.TemporaryDirectory() as folder, stopwatch(places) as total:
        began = time.perf_counter()
        launch(jobs, LaunchSettings(out=folder))
        whole = time.perf_counter() - began
    for label, seconds in total.items():
        yield row(label, seconds, RUNS)
    yield row("launch as a whole", whole, RUNS)


def overhead(only: str = "") -> Iterator[dict[str, Any]]:
    """One more run in a pack: programs compiled, runs of a single update."""
    words = ["cell=lstm", *SIZES[:3], "steps=1", "probe=off", "eval.size=32"]
    jobs = compose.plan([*words, "seed=range(128)"], multirun=True).jobs
    places = {
        "storing: opening": (pack_run.PackRun, "_begin"),
        "storing: .hydra (in threads, while running)": (pack_run, "_note"),
        "storing: sealing": (pack_run, "seal"),
        "storing: index": (Pool, "add"),
        "running": (PackTraining, "run"),
        "parameters and stacking": (PackTraining, "__init__"),
    }
    took, parts = {}, {}
    for count in (128, 16, 128):  # the first one fills the caches of this process
        settings = LaunchSettings(pack=PackConfig(capacity=64))
        with tempfile.TemporaryDirectory() as folder, stopwatch(places) as total:
            began = time.perf_counter()
            launch(jobs[:count], dataclasses.replace(settings, out=folder))
            took[count], parts[count] = time.perf_counter() - began, dict(total)
    yield row("one more run", took[128] - took[16], 112)
    for label in places:
        yield row(f"  {label}", parts[128][label] - parts[16][label], 112)


def composition(only: str = "") -> Iterator[dict[str, Any]]:
    """1 000 jobs, composed and checked."""
    began = time.perf_counter()
    words = [*SIZES, f"cell={','.join(CELLS)}", "lr=1e-4,1e-3,1e-2,.1"]
    jobs = compose.plan([*words, "seed=range(84)"], multirun=True).jobs
    yield row("composition", time.perf_counter() - began, len(jobs))


def untrained(only: str = "") -> Iterator[dict[str, Any]]:
    """Gain × bias × T × seed, an orthogonal tanh network of 32 units, batches of 32."""
    gains = ",".join(f"{0.5 + 0.1 * k:.1f}" for k in range(20))
    axes = [f"init.gain={gains}", "cell.bias=0,.25,.5,1,2", "seed=range(25)"]
    words = ["cell=elman", "init=orthogonal", "task=adding", "probe.batch=32"]
    began = time.perf_counter()
    made = compose.plan([*words, *axes, "task.length=25,50,75,100"], multirun=True)
    count = len(made.jobs)
    yield row("composition", time.perf_counter() - began, count)
    began = time.perf_counter()
    landscape(made.jobs, made.varied)
    took = time.perf_counter() - began
    states = sum(dict(job.config.task_options)["length"] for job in made.jobs) * 32
    note = (
        f"{count / took:.0f} points, {states / took:.3g} adjoints of a state a second"
    )
    yield row("probes of untrained networks", took, count, note)


# -- a large pool ------------------------------------------------------------------


def pool(only: str = "", runs: int = 10_000) -> Iterator[dict[str, Any]]:
    """Runs that were never trained, written as the store writes them."""
    sweep = ["train", "-m", *SIZES, f"cell={','.join(CELLS[:2])}"]
    sweep += ["lr=1e-4,1e-3,1e-2,.1,.2", f"seed=range({runs // 10})"]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        began = time.perf_counter()
        jobs = compose.plan(sweep[2:], multirun=True).jobs
        yield row("composition", time.perf_counter() - began, len(jobs))
        there = Pool(Path(folder) / "runs")
        began = time.perf_counter()
        _write(there, jobs)
        yield row(
            "written, without waiting for the disk", time.perf_counter() - began, runs
        )
        words = ["-m", "rnnjax", "runs", "runs"]
        bench.python(*words)  # files that the system has not read yet
        yield row("rnnjax runs", bench.python(*words), runs)
        where = ["--where", "cell = 'gru' and test_accuracy > .5", "--sort", "lr"]
        yield row("rnnjax runs --where --sort", bench.python(*words, *where), runs)
        yield row("rnnjax runs --by", bench.python(*words, "--by", "cell,lr"), runs)
        began = time.perf_counter()
        there.rebuild()
        yield row("index rebuilt", time.perf_counter() - began, runs)
        yield row("relaunch, all skipped", bench.python("-m", "rnnjax", *sweep), runs)


def _write(there: Pool, jobs: tuple[Job, ...]) -> None:
    import polars as pl

    environment = environments.environment()
    metrics = pl.DataFrame({"step": [100, 200], "loss": [0.5, 0.25]})
    real = atomic.sync, writing.sync
    atomic.sync = writing.sync = lambda path: None
    try:
        for number, job in enumerate(jobs):
            manifest = Manifest(
                run_id=job.run_id,
                lineage=job.lineage,
                source_digest=job.source,
                name=job.name,
                status="running",
                environment=environment,
                created=now(),
                seeds={"seed": job.config.seed},
                metric="accuracy",
            )
            path = run_path(there.path, job.name, manifest.run_id)
            run = begin_run(path, job.stored, manifest)
            write_folder(run, job.hydra, job.number, job.overrides)
            results = {"test_accuracy": (number % 100) / 100, "test_loss": 0.25}
            ended = manifest.replace(
                status="done",
                finished=now(),
                steps=200,
                results=results,
                run_seconds=0.1,
                compile_seconds=1.0,
            )
            finish_run(run, ended, metrics, params=b"weights")
            there.add(run)
    finally:
        atomic.sync, writing.sync = real
