"""Command lines of every command, with folders of a user's configuration and code."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from scripts.soak.generated_case import MARKER, Input
from scripts.soak.generated_values import TINY, odd, override
from scripts.soak.mutations import Rng, changed, pick


Words = list[str]

LISTS = "cells activations tasks variants inits experiments figures launchers".split()

CONDITIONS = (
    *(
        "seed = 0",
        "cell = 'lstm'",
        "accuracy > .9",
        "seed",
        "seed >",
        "1",
        "null",
        "true",
    ),
    *(
        "seed = 'x'",
        "name like '%a%'",
        "seed in (0,1)",
        "seed between 0 and",
        "lr / 0 > 1",
    ),
    *(
        "nothing = 1",
        '"seed" = 0',
        "seed = 0; drop table x",
        "abs(seed) < 2",
        "nope(seed)",
    ),
    *(
        "(" * 300,
        "seed = 0 or " * 200 + "seed = 1",
        "'",
        '"',
        "seed = 1e400",
        "a.b.c = 1",
    ),
    *(
        "seed = \x00",
        "status = \x1b[31m",
        "sum(seed) > 0",
        "seed over ()",
        "--",
        "/*",
        "*",
    ),
    *(
        "cast(seed as int) = 0",
        "seed is null",
        "not seed",
        "seed + 'a' = 1",
        "",
        "seed::x",
    ),
    *(
        "exists (select 1)",
        "regexp_like(name, '(')",
        "name ~ '['",
        "case when 1 then 2 end",
    ),
)
COLUMNS = (
    *(
        "seed",
        "cell",
        "distance",
        "seed,cell",
        "seed,seed",
        "nothing",
        "",
        ",",
        "name,",
    ),
    *(
        "*",
        "^.*$",
        "path",
        "accuracy",
        "status,lr",
        "\x1b",
        "é",
        "config.steps",
        "steps",
    ),
    *(
        "identity",
        "cell.name,cell",
        "^s",
        "seed ",
        "results",
        "run_seconds",
        "test_metric",
    ),
)
YAML = (
    "lr: 0.5\n",
    "defaults: [{override /cell: gru}]\nlr: .1\n",
    "defaults: [{override /cell: nope}]\n",
    "defaults: [nope]\n",
    "defaults: {a: 1}\n",
    "defaults: [1, null, [2], {a: [b]}]\n",
    "defaults: [_self_, x]\n",
    "defaults: [{/experiment: y}]\n",
    "defaults: 3\n",
    "sweep: {seed: [0, 1]}\n",
    "sweep: {seed: {}}\n",
    "sweep: {seed: 'range(3)', lr: null}\n",
    "sweep: [1]\n",
    "sweep: {zip: [{cell: lstm}, {cell: gru, lr: 1}]}\n",
    "sweep: {1: 2}\n",
    "sweep: {'a=b': 2, '': 3}\n",
    "sweep: {seed: 'range(1e9)'}\n",
    "sweep: {cell: ['gone.py:X']}\n",
    "lr: 2001-01-01\n",
    "lr: 2001-01-01 10:00:00\n",
    "lr: !!binary aGVsbG8=\n",
    "lr: !!set {a, b}\n",
    "lr: !!omap [a: 1]\n",
    f"lr: !!python/object/apply:os.system ['touch {MARKER}']\n",
    f"lr: !!python/object/new:os.mkdir ['{MARKER}']\n",
    "lr: !mine 3\n",
    "lr: 1:30:00\n",
    "lr: 0o17\nseed: 0b11\nsteps: 1_000\n",
    "lr: .inf\nseed: .nan\n",
    "lr: ${lr}\n",
    "lr: ${seed}\nseed: ${lr}\n",
    "lr: ${oc.env:HOME}\n",
    "lr: ${model.hidden}\nmodel: ${eval}\n",
    "model: 3\n",
    "model: [1]\n",
    "model: null\n",
    "model: {}\n",
    "model: {hidden: {a: 1}}\n",
    "cell: lstm\n",
    "cell: null\n",
    "cell: {name: gru, nope: 1}\n",
    "cell: [lstm]\n",
    "hydra: {run: {dir: x}}\n",
    "hydra: {callbacks: {a: {_target_: nothing.Here}}}\n",
    "1: 2\nnull: 3\ntrue: 4\n1.5: x\n",
    "? [a, b]\n: 3\n",
    "? {a: b}\n: 3\n",
    "<<: {lr: 3}\n",
    "a: &a {b: 1}\nmodel: {<<: *a, hidden: 3}\n",
    "a: &a [*a]\n",
    "a: &a {b: *a}\n",
    "- 1\n- 2\n",
    "just text\n",
    "42\n",
    "null\n",
    "",
    "---\nlr: 1\n---\nlr: 2\n",
    "%YAML 9.9\n---\nlr: 1\n",
    "lr: 1\nlr: 2\n",
    "lr:\t1\n",
    "lr: [1\n",
    "lr: 'a\n",
    "lr: *nope\n",
    "lr: |\n  a\n b\n",
    "\ufefflr: 1\n",
    "lr: 1\r\nseed: 2\r\n",
    "é: 1\n",
    "a.b: 1\n'': 2\n",
    "a: " + "[" * 3000 + "\n",
    "a: " + "{b: " * 500 + "1" + "}" * 500 + "\n",
    "lr: " + "9" * 6000 + "\n",
    "lr: " + "x" * 20_000 + "\n",
    "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{i + 1}: &a{i + 1} [{','.join([f'*a{i}'] * 9)}]\n" for i in range(9)),
    "a0: &a0 {k: v}\n"
    + "".join(f"a{i + 1}: &a{i + 1} {{p: *a{i}, q: *a{i}}}\n" for i in range(30)),
)
PACKAGES = ("# @package _global_\n", "# @package _global_\n", "", "# @package é x\n")

CODE = (
    "from rnnjax.cells import Cell\nclass X(Cell):\n    pass\n",
    "class X:\n    pass\n",
    "X = 3\n",
    "X = None\n",
    "def X(): pass\n",
    "class X(\n",
    "raise SystemExit(3)\n",
    "import sys; sys.exit('bye')\n",
    "raise KeyError('a')\n",
    "raise ValueError('two\\nlines')\n",
    "raise BaseException('base')\n",
    "raise GeneratorExit\n",
    "1/0\n",
    "def f(): f()\nf()\n",
    "import nothing_of_this_name\n",
    "from . import x\n",
    "X = type('X', (), {})()\n",
    "\x00",
    "# -*- coding: nope -*-\nX = 1\n",
    "# -*- coding: latin-1 -*-\nX = 'é'\n",
    "from rnnjax.tasks.base import Task\nclass X(Task):\n    pass\n",
    "import dataclasses\nfrom rnnjax.tasks.base import Task\n"
    "@dataclasses.dataclass(frozen=True)\nclass X(Task):\n    a: int = 0\n",
    "x = " + "(" * 1000 + ")" * 1000,
    "x = " + "-" * 100_000 + "1",
    "",
)


def command(rng: Rng, ground: Path) -> Input:
    """A command with odd words; what it reads lies in the present folder."""
    makers, shares = zip(*_COMMANDS, strict=True)
    total = sum(shares)
    make = makers[int(rng.choice(len(makers), p=[share / total for share in shares]))]
    words = make(rng, ground)
    if rng.random() < 0.04:
        words.insert(int(rng.integers(len(words) + 1)), odd(rng))
    if rng.random() < 0.03:
        words.append(pick(rng, ("--nope", "-x", "--where", "--help", "--", "-m", "-n")))
    return Input("command lines", words)


def _overrides(rng: Rng, most: int = 4) -> Words:
    count = int(rng.integers(1, most + 1))
    return [word for _ in range(count) for word in override(rng)]


def _dry(rng: Rng, ground: Path) -> Words:
    return ["train", "-n", *_overrides(rng)]


def _dry_sweep(rng: Rng, ground: Path) -> Words:
    return ["train", "-m", "-n", *_overrides(rng)]


def _train(rng: Rng, ground: Path) -> Words:
    """Runs of a few updates; only keys that leave them as cheap as they are."""
    key = pick(
        rng,
        "steps lr seed loss_bound log_every eval.every eval.size name shards stale "
        "checkpoint.every_seconds checkpoint.keep remedy.threshold pack.devices "
        "pack.how optimizer.b1 task.distance lr_schedule.warmup probe.batch".split(),
    )
    small = ("0", "1", "2", "3", "1.0", "-0", "nan", "inf", "null", "[]", "x", "-1")
    sweep = ["-m", "seed=0,1"] if rng.random() < 0.2 and key != "seed" else []
    return ["train", *sweep, *TINY, f"{key}={pick(rng, small)}", "out=pool"]


def _config_folder(rng: Rng, ground: Path) -> Words:
    group = pick(rng, ("variant", "experiment"))
    for name in "xy":
        file = Path("mine") / group / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = pick(rng, PACKAGES) + "".join(
            pick(rng, YAML) for _ in range(int(rng.integers(1, 3)))
        )
        content = text.encode()
        file.write_bytes(changed(rng, content) if rng.random() < 0.2 else content)
    if rng.random() < 0.15:
        return ["list", f"{group}s", "--config-dir", "mine"]
    several = ["-m"] if rng.random() < 0.6 else []
    more = override(rng) if rng.random() < 0.3 else []
    return ["train", "-n", *several, f"{group}=x", *more, "--config-dir", "mine"]


def _odd_folder(rng: Rng, ground: Path) -> Words:
    """A configuration folder that is none, or holds other things than files."""
    way = int(rng.integers(4))
    if way == 0:
        return ["train", "-n", "--config-dir", odd(rng) or "x"]
    Path("mine/variant").mkdir(parents=True)
    place = Path("mine/variant/x.yaml")
    (Path.mkdir, os.mkfifo, lambda file: file.symlink_to("x.yaml"))[way - 1](place)
    return ["train", "-n", "variant=x", "--config-dir", "mine"]


def _code(rng: Rng, ground: Path) -> Words:
    kind = pick(rng, ("cell", "task"))
    text = pick(rng, CODE).encode("utf-8")
    Path("mine.py").write_bytes(changed(rng, text) if rng.random() < 0.1 else text)
    value = pick(rng, ("mine.py:X",) * 6 + ("mine.py:Y", "gone.py:X", ".:X", "x.py:é"))
    return ["train", "-n", f"{kind}={value}", *override(rng)[: int(rng.integers(2))]]


def _search(rng: Rng, ground: Path) -> Words:
    """Searches of two trials at most, nearly all of which are refused."""
    intervals = (
        *(
            "lr=interval(1e-4,1e-1)",
            "lr=tag(log,interval(1e-4,1))",
            "lr=interval(0,inf)",
        ),
        *("lr=interval(1,0)", "lr=tag(log,interval(0,1))", "seed=interval(0,10)"),
        *("cell=interval(0,1)", "lr=interval(nan,1)", "steps=interval(0,1)", "lr=0,1"),
        *("nope=interval(0,1)", "model.hidden=interval(1,1e30)", "lr=interval(a,b)"),
    )
    number = pick(rng, ("trials", "points", "factor", "rounds", "seed"))
    ways = [(f"--{number}", pick(rng, ("0", "-1", "x", "1e3", "2", "", "9" * 30)))]
    ways += [("--method", pick(rng, ("random", "grid", "tpe", "nope")))]
    if rng.random() < 0.3:
        ways += [("--objective", pick(rng, ("", "nope", "test_loss", "\x1b")))]
    flags = [word for way in ways for word in way]
    if "--trials" not in flags:
        flags += ["--trials", "1"]
    return ["search", *TINY, pick(rng, intervals), "out=pool", *override(rng), *flags]


def _probe(rng: Rng, ground: Path) -> Words:
    own = (
        *("step=1", "step=x", "run=nothing", "run=", "run=\x00", "run=.", "sections="),
        *("sections=flow,nope", "sections=,", "weight=", "weight=V[0", "weight=V[9,9]"),
        *("weight=nope[0,0]", "weight=V[-1,0]", "weight=V[9999999999999999999,0]"),
        *("run_code=maybe", "run_code=true", "probe=off", "step=-1", "run=pool"),
    )
    several = ["-m"] if rng.random() < 0.2 else []
    words = [pick(rng, own) for _ in range(int(rng.integers(1, 3)))]
    return ["probe", *several, *TINY[:-1], *words, *override(rng), "steps=x"]


def _list(rng: Rng, ground: Path) -> Words:
    return ["list", pick(rng, LISTS) if rng.random() < 0.5 else odd(rng)]


def _runs(rng: Rng, ground: Path) -> Words:
    shutil.copytree(ground / "pool", "pool")
    words = ["runs", pick(rng, ("pool", "pool", "pool", "pool/", "nothing", "."))]
    if rng.random() < 0.6:
        words += ["--where", pick(rng, CONDITIONS)]
    if rng.random() < 0.4:
        words += ["--by", pick(rng, COLUMNS)]
    if rng.random() < 0.4:
        words += ["--sort", pick(rng, COLUMNS)]
    if rng.random() < 0.4:
        out = (
            "a.csv",
            "",
            ".",
            "no/such/a.csv",
            "/dev/full",
            "/dev/null",
            "\x00",
            "pool",
        )
        words += [pick(rng, ("--csv", "--parquet")), pick(rng, out)]
    return words


def _of_pool(rng: Rng, ground: Path) -> Words:
    """Commands that take a folder, with one that is none or holds something else."""
    shutil.copytree(ground / "pool", "pool")
    Path("empty").mkdir()
    Path("loop").symlink_to("loop")
    names = [run.name for run in Path("pool").glob("*-*")]
    pools = (
        "empty",
        "loop",
        "nothing",
        "a\x00b",
        "",
        "/dev/null",
        "~",
        "x" * 300,
        odd(rng),
    )
    run = pick(rng, names)
    runs = (
        f"pool/{run}",
        f"pool/{run.rpartition('-')[2][:4]}",
        "pool/",
        "pool",
        "pool/zz",
    )
    one, other = (pick(rng, runs if rng.random() < 0.6 else pools) for _ in range(2))
    return pick(
        rng,
        (
            ["compare", one, other],
            ["compare", one],
            ["fsck", pick(rng, ("pool", *pools))],
            ["fsck", "pool", "--repair"],
            ["verify", pick(rng, pools)],
            ["verify", "--all", pick(rng, pools)],
            ["report", pick(rng, pools)],
        ),
    )


def _reproduce(rng: Rng, ground: Path) -> Words:
    """Never a figure that would be computed: a preset, a folder or a name is wrong."""
    names = ("cliff", "lyapunov", "latching", "nope", "", "é")
    words = ["reproduce", *(pick(rng, names) for _ in range(int(rng.integers(1, 3))))]
    words += [pick(rng, ("preset=nope", "preset=", "nope=1", "out=\x00", "pool="))]
    if rng.random() < 0.4:
        words[1:] = ["cliff", "--from", pick(rng, ("nothing", "", ".", "\x00", "loop"))]
    return words


def _nothing(rng: Rng, ground: Path) -> Words:
    return pick(
        rng, ([], ["nope"], [odd(rng)], ["train", "--help"], ["--version"], ["-h"])
    )


_COMMANDS: tuple[tuple[Callable[[Rng, Path], Words], float], ...] = (
    *((_dry, 40), (_dry_sweep, 14), (_config_folder, 14), (_odd_folder, 1), (_code, 3)),
    *((_train, 3), (_search, 4), (_probe, 4), (_list, 2), (_runs, 8), (_of_pool, 4)),
    *((_reproduce, 2), (_nothing, 1)),
)
