"""The command-line parser: commands, their options, and their help."""

import argparse
import importlib.metadata
from typing import NoReturn

from rnnjax.errors import UserError


EXAMPLES = """\
examples:
  rnnjax demo                                   run the main sweep, print a table
  rnnjax train cell=lstm task=adding task.length=200 steps=5000
  rnnjax train -m cell=elman activation=sigmoid,tanh,relu task.distance=4,16,50 seed=0,1
  rnnjax train -m variant=elman_sigmoid,lstm,lstm_chrono 'seed=range(5)'
  rnnjax train cell=my_cell.py:MyCell task=my_task.py:MyTask
  rnnjax search cell=lstm 'lr=tag(log,interval(1e-4,1e-1))' --method halving
  rnnjax probe cell=lstm task.distance=50       measure an untrained network
  rnnjax probe run=runs/DIR step=100            measure a run after 100 updates
  rnnjax probe my.py:loss                       measure any JAX loss; loss_args() gives
                                                its arguments
  rnnjax probe -m init=orthogonal init.gain=.5,1,2 task.distance=50,100 'seed=range(9)'
  rnnjax list cells                             names, formulas, options
  rnnjax report runs/<sweep>                    write the report of a sweep again
  rnnjax reproduce cliff                        reproduce a figure of a paper
  rnnjax runs runs --where "cell = 'lstm' and accuracy > .9" --sort accuracy -r
  rnnjax runs runs --by variant,task.distance   average over seeds, with intervals
  rnnjax compare runs/3fa9 runs/81c0            show what differs between two runs
  rnnjax fsck runs --repair                     find damaged runs and set them aside
  rnnjax verify runs/3fa9                       run it again and compare all bits
  rnnjax cache --clear                          remove the kept compiled programs
  rnnjax new-cell my_cell                       write a cell to begin with, and its test
  rnnjax check my_cell.py:MyCell                is this cell right?
  rnnjax check my.py:kernel --reference plain   is the gradient of this kernel right?

Settings of runs are KEY=VALUE, options of a command are --flags.

exit status: 0 success; 1 a run or a check failed, or differs; 2 wrong input;
130 interrupted; 143 terminated
"""

LISTS = (
    "cells activations tasks variants inits optimizers lr_schedules clippings "
    "penalties launchers experiments quantities figures".split()
)


METHODS = ("random", "grid", "tpe", "halving")

SEARCH_NUMBERS = {
    "trials": "number of trials (ignored by grid)",
    "points": "values per interval of a grid",
    "factor": "halving: keep 1 in N trials per round",
    "rounds": "halving: number of rounds; the last one trains for all steps",
    "sampler_seed": "random seed for choosing trials",
}


class Parser(argparse.ArgumentParser):
    """A parser that raises a `UserError` instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def parsers() -> tuple[Parser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and the parsers of the commands by name."""
    parser = Parser(
        prog="rnnjax",
        description="Does the loss at the end of a sequence still reach its beginning?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = importlib.metadata.version("rnnjax")
    parser.add_argument("--version", action="version", version=f"rnnjax {version}")
    added = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return added.add_parser(name, help=text, description=text, allow_abbrev=False)

    train = command("train", "train one run, or with -m a sweep")
    demo = command("demo", "run the main sweep: train -m experiment=main")
    demo.set_defaults(multirun=True)
    look = command(
        "probe",
        "analyze the gradient flow of one network: untrained, or that of a run "
        "(run=DIR, after step=N updates); or of a loss of yours (FILE.py:LOSS)",
    )
    help = "sweep keys with several values: seed=0,1 'seed=range(5)' 'variant=glob(*)'"
    for one in (train, look):
        one.add_argument("-m", "--multirun", action="store_true", help=help)
    help = "settings, see conf/config.yaml"
    for one in (train, demo, look):
        one.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=help)
    for words, value, help in (
        (("-n", "--dry-run"), "true", "only check and show the jobs"),
        (("--dry-run=full",), "full", "also compile, to estimate memory and time"),
    ):
        for one in (train, demo):
            one.add_argument(
                *words, dest="dry_run", action="store_const", const=value, help=help
            )
    search = command("search", "search for good settings; needs rnnjax[search]")
    help = "as for train -m, or intervals: 'lr=tag(log,interval(1e-4,1e-1))'"
    search.add_argument("overrides", nargs="*", metavar="KEY=VALUES", help=help)
    search.add_argument("--method", default="random", metavar="|".join(METHODS))
    for name, help in SEARCH_NUMBERS.items():
        option = f"--{name.replace('_', '-')}"
        search.add_argument(option, type=int, metavar="N", help=help)
    help = "result to optimize (best_validation_accuracy or …_mean_squared_error)"
    search.add_argument("--objective", metavar="NAME", help=help)
    listed = command("list", "list what settings can name")
    listed.add_argument("what", metavar="|".join(LISTS))
    help = "folder with your own variant/*.yaml, experiment/*.yaml"
    for one in (train, demo, look, search, listed):
        one.add_argument("--config-dir", metavar="DIR", help=help)
    again = command("reproduce", "run a figure of a paper and judge its claims")
    help = "figures; also preset=quick|paper"
    again.add_argument("overrides", nargs="*", metavar="NAME", help=help)
    again.add_argument("--all", action="store_true", help="all figures")
    help = "only redraw the results stored in DIR"
    again.add_argument("--redraw", dest="stored", metavar="DIR", help=help)
    report = command("report", "write the report of a sweep")
    report.add_argument("dir", metavar="DIR", help="folder of a sweep")
    runs = command("runs", "show a table of runs")
    runs.add_argument("dir", metavar="DIR", help="folder of a sweep, a pool or a run")
    runs.add_argument("--where", metavar="SQL", help="\"cell = 'lstm' and seed < 3\"")
    runs.add_argument("--by", metavar="COL,…", help="average the runs of each group")
    runs.add_argument("--sort", metavar="COL,…", help="smallest first")
    runs.add_argument("-r", "--reverse", action="store_true", help="largest first")
    files = runs.add_mutually_exclusive_group()
    for kind in ("csv", "parquet"):
        files.add_argument(f"--{kind}", metavar="OUT", help="write all columns instead")
    compare = command("compare", "show what differs between two runs")
    verify = command(
        "verify", "run again and compare; exit status 1: differs, 2: unverifiable"
    )
    for one, name in ((compare, "first"), (compare, "second"), (verify, "run")):
        help = "directory of a run, or POOL/first digits of its run id"
        one.add_argument(name, metavar="RUN", help=help)
    help = "RUN is a pool or a sweep: verify every finished run in it"
    verify.add_argument("--all", action="store_true", help=help)
    help = "allow executing the run's copy of a user's cell or task"
    verify.add_argument("--run-code", action="store_true", help=help)
    check = command("fsck", "check a pool of runs: damage, index, leftovers")
    check.add_argument("pool", metavar="POOL", help="folder with the run directories")
    help = "move damaged runs to POOL/quarantine, rebuild the index, clean up"
    check.add_argument("--repair", action="store_true", help=help)
    judge = command("check", "check a cell, or the gradients of a function")
    help = "name of a cell, or FILE.py:NAME of a cell or a function"
    judge.add_argument("target", metavar="TARGET", help=help)
    help = "function with the same results, in the same file or as FILE.py:NAME"
    judge.add_argument("--reference", metavar="NAME", help=help)
    help = (
        "shapes ('{U: 8x8, b: 8} 4x8 Tx4x3'), or a function (seed, steps) of the file"
    )
    judge.add_argument("--args", metavar="ARGS", help=help)
    help = "a width of the kernel, around which lengths are tried"
    judge.add_argument("--window", type=int, metavar="W", help=help)
    help = "groups of rows of the check of a cell"
    judge.add_argument("--only", metavar="GROUP,…", help=help)
    judge.add_argument("--json", action="store_true", help="print the rows as JSON")
    new = command("new-cell", "write a documented cell to begin with, and its test")
    help = "of the file; the class is called the same in capitals"
    new.add_argument("name", metavar="NAME", help=help)
    kept = command("cache", "show how many compiled programs are kept, and where")
    kept.add_argument("--clear", action="store_true", help="remove all of them")
    return parser, dict(added.choices)
