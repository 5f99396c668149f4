"""Command lines of every command, with folders of a user's configuration and code."""

import shutil
from collections.abc import Callable
from pathlib import Path

from scripts.soak.generated_case import Input
from scripts.soak.generated_folders import Words, code, configuration, odd_folder
from scripts.soak.generated_values import TINY, odd, override
from scripts.soak.mutations import Rng, pick


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
        "test_accuracy",
    ),
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


def _overrides(rng: Rng, most: int = 3) -> Words:
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
        "checkpoint.every_seconds checkpoint.keep clipping.threshold pack.devices "
        "pack.how optimizer.b1 task.distance lr_schedule.warmup probe.batch".split(),
    )
    small = ("0", "1", "2", "3", "1.0", "-0", "nan", "inf", "null", "[]", "x", "-1")
    sweep = ["-m", "seed=0,1"] if rng.random() < 0.2 and key != "seed" else []
    return ["train", *sweep, *TINY, f"{key}={pick(rng, small)}", "out=pool"]


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
        *(
            "sections=adjoints,nope",
            "sections=,",
            "weight=",
            "weight=V[0",
            "weight=V[9,9]",
        ),
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
        words[1:] = [
            "cliff",
            "--redraw",
            pick(rng, ("nothing", "", ".", "\x00", "loop")),
        ]
    return words


def _nothing(rng: Rng, ground: Path) -> Words:
    return pick(
        rng, ([], ["nope"], [odd(rng)], ["train", "--help"], ["--version"], ["-h"])
    )


_COMMANDS: tuple[tuple[Callable[[Rng, Path], Words], float], ...] = (
    *((_dry, 40), (_dry_sweep, 14), (configuration, 14), (odd_folder, 1), (code, 3)),
    *((_train, 3), (_search, 4), (_probe, 4), (_list, 2), (_runs, 8), (_of_pool, 4)),
    *((_reproduce, 2), (_nothing, 1)),
)
