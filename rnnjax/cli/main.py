"""The command `rnnjax`: words in, exit status out.

Nothing heavy is imported before a command needs it, so that help is immediate.
"""

import argparse
import errno
import importlib.metadata
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from rnnjax import interrupts
from rnnjax.errors import UserError, did_you_mean, shown, unknown


EXAMPLES = """\
examples:
  rnnjax demo                                   the main sweep, a table and a report
  rnnjax train cell=lstm task=adding task.length=200 steps=5000
  rnnjax train -m cell=elman activation=sigmoid,tanh,relu task.distance=4,16,50 seed=0,1
  rnnjax train -m variant=elman_sigmoid,lstm,lstm_chrono 'seed=range(5)'
  rnnjax train cell=my_cell.py:MyCell task=my_task.py:MyTask
  rnnjax search cell=lstm 'lr=tag(log,interval(1e-4,1e-1))' --method halving
  rnnjax probe cell=lstm task.distance=50       every quantity, before training
  rnnjax probe run=runs/DIR step=100            … of a run, after 100 updates
  rnnjax probe -m init=orthogonal init.gain=.5,1,2 task.distance=50,100 'seed=range(9)'
  rnnjax list cells                             names, sources, options
  rnnjax report runs/<sweep>                    the report of a sweep, anew
  rnnjax reproduce cliff                        a figure of a paper, with a verdict
  rnnjax runs runs --where "cell = 'lstm' and accuracy > .9" --sort accuracy -r
  rnnjax runs runs --by variant,task.distance   means over seeds, with intervals
  rnnjax compare runs/3fa9 runs/81c0            what differs, and both results
  rnnjax fsck runs --repair                     find damaged runs, set them aside
  rnnjax verify runs/3fa9                       run it again: the same bits?

exit status: 0 done; 1 a run failed, or differs; 2 wrong input;
130 interrupted; 143 terminated
"""

LISTS = (
    "cells activations tasks variants inits optimizers lr_schedules remedies "
    "penalties launchers experiments figures".split()
)


FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What the operating system says when standard output takes no more."""

METHODS = ("random", "grid", "tpe", "halving")

SEARCH_NUMBERS = {
    "trials": "how many; a grid has all of its own",
    "points": "values of an interval in a grid",
    "factor": "halving: one trial in so many goes on",
    "rounds": "halving: the last one makes all updates",
    "seed": "of the choice of trials",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like any other."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; see `EXAMPLES`.

    Args:
        argv: words behind the name of the program; None: those of this process.

    Returns:
        0 done; 1 a run failed, or differs from its record; 2 wrong input, one sentence
        on stderr; 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with _plain_warnings():
            return _dispatch(words)
    except UserError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("rnnjax: interrupted", file=sys.stderr)
        return interrupts.status() or 130
    except BrokenPipeError:
        _silence()  # the reader went away (`| head`)
        return 0
    except OSError as error:
        if error.filename is not None:
            return _refuse(f"cannot use '{error.filename}': {error.strerror}")
        if error.errno not in FULL:
            raise
        _silence()
        return _refuse(f"cannot write: {error.strerror}")


def _refuse(sentence: str) -> int:
    print(f"rnnjax: {shown(sentence)}", file=sys.stderr)
    return 2


def _silence() -> None:
    """Write no more to standard output; Python would complain again while it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print warnings as sentences, without the line of code that they come from."""

    def sentence(message: Warning | str, *_: Any, **__: Any) -> str:
        return f"rnnjax: warning: {shown(str(message))}\n"

    before, warnings.formatwarning = warnings.formatwarning, sentence
    try:
        yield
    finally:
        warnings.formatwarning = before


def program() -> int:
    """The command line as a process of its own; see `main`."""
    with interrupts.watched():
        status = main()
    if interrupts.noted():
        # Python would wait for the threads that compile.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)
    return status


def _dispatch(words: list[str]) -> int:
    parser, commands = _parsers()
    if words and not words[0].startswith("-") and words[0] not in commands:
        raise unknown("command", words[0], commands)
    try:
        # Overrides may stand before and behind options; argparse returns the latter.
        chosen, rest = parser.parse_known_args(words)
    except SystemExit as leave:  # --help and --version
        return int(leave.code or 0)
    for word in rest:
        if word.startswith("-"):
            flags = [f for action in parser._actions for f in action.option_strings]
            if chosen.command:
                actions = commands[chosen.command]._actions
                flags = [f for action in actions for f in action.option_strings]
            raise UserError(f"unknown option '{word}'; {did_you_mean(word, flags)}")
    if chosen.command is None:
        parser.print_help()
        return 0
    return _run(chosen, rest, shlex.join(["rnnjax", *words]))


def _run(chosen: argparse.Namespace, rest: list[str], command: str) -> int:
    from rnnjax.cli import commands

    if chosen.command in ("train", "demo"):
        overrides = [*chosen.overrides, *rest]
        multirun = chosen.multirun
        if chosen.command == "demo":
            overrides, multirun = ["experiment=main", *overrides], True
        if chosen.dry_run:
            overrides.append(f"dry_run={chosen.dry_run}")
        return commands.train(overrides, multirun, chosen.config_dir, command)
    if chosen.command == "probe":
        from rnnjax.cli.probing import probe, probe_sweep

        look = probe_sweep if chosen.multirun else probe
        return look([*chosen.overrides, *rest], chosen.config_dir)
    if chosen.command == "reproduce":
        from rnnjax.cli.reproducing import reproduce

        return reproduce([*chosen.words, *rest], chosen.all, chosen.stored)
    if chosen.command == "search":
        from rnnjax.cli.searching import search

        if chosen.method not in METHODS:
            raise unknown("method", chosen.method, METHODS)
        names = ("method", "objective", *SEARCH_NUMBERS)
        given = {name: getattr(chosen, name) for name in names}
        given = {name: value for name, value in given.items() if value is not None}
        words = [*chosen.overrides, *rest]
        return search(words, given, chosen.config_dir, command)
    if rest:
        raise UserError(f"rnnjax {chosen.command} does not take '{rest[0]}'")
    if chosen.command == "list":
        if chosen.what not in LISTS:
            raise unknown("list", chosen.what, LISTS)
        return commands.show_list(chosen.what, chosen.config_dir)
    if chosen.command == "report":
        return commands.report(chosen.dir)
    if chosen.command == "fsck":
        from rnnjax.cli.fsck import fsck

        return fsck(chosen.pool, chosen.repair)
    if chosen.command == "verify":
        from rnnjax.cli.verifying import verify

        return verify(chosen.run, chosen.all, chosen.run_code)
    from rnnjax.cli import tables

    if chosen.command == "compare":
        return tables.compare(chosen.first, chosen.second)
    names = "where by sort reverse csv parquet".split()
    view = tables.View(**{name: getattr(chosen, name) for name in names})
    return tables.runs(chosen.dir, view)


def _parsers() -> tuple[_Parser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(
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
    look = command("probe", "measure a network closely, untrained or run=DIR step=N")
    for one in (train, look):
        one.add_argument(
            *("-m", "--multirun"),
            action="store_true",
            help="keys may have several values: seed=0,1 'seed=range(5)' "
            "'variant=glob(*)'",
        )
    for one in (train, demo, look):
        one.add_argument(
            "overrides", nargs="*", metavar="KEY=VALUE", help="as in conf/config.yaml"
        )
    for one in (train, demo):
        one.add_argument(
            *("-n", "--dry-run"),
            action="store_const",
            const="true",
            help="check and show the jobs only",
        )
        one.add_argument(
            "--dry-run=full",
            dest="dry_run",
            action="store_const",
            const="full",
            help="compile as well, for memory and time",
        )
    search = command("search", "search a space, packed; needs rnnjax[search]")
    search.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUES",
        help="as of train -m, and intervals: 'lr=tag(log,interval(1e-4,1e-1))'",
    )
    search.add_argument("--method", default="random", metavar="|".join(METHODS))
    for name, help in SEARCH_NUMBERS.items():
        search.add_argument(f"--{name}", type=int, metavar="N", help=help)
    search.add_argument("--objective", metavar="NAME", help="best_validation_metric")
    listed = command("list", "show what can be named in a configuration")
    listed.add_argument("what", metavar="|".join(LISTS))
    for one in (train, demo, look, search, listed):
        one.add_argument(
            "--config-dir", metavar="DIR", help="folder with further variant/*.yaml …"
        )
    again = command("reproduce", "run a figure of a paper and judge its claims")
    again.add_argument(
        "words", nargs="*", metavar="NAME", help="and preset=quick|paper"
    )
    again.add_argument("--all", action="store_true", help="every figure there is")
    again.add_argument(
        "--from", dest="stored", metavar="DIR", help="draw stored results again"
    )
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
    verify = command("verify", "run again, compare: 1 if it differs, 2 if not possible")
    for one, name in ((compare, "first"), (compare, "second"), (verify, "run")):
        help = "directory of a run, or POOL/beginning of its identity"
        one.add_argument(name, metavar="RUN", help=help)
    help = "RUN is a pool or the folder of a sweep: every finished run in it"
    verify.add_argument("--all", action="store_true", help=help)
    help = "execute the run's copy of a cell or task of your own"
    verify.add_argument("--run-code", action="store_true", help=help)
    check = command("fsck", "examine a pool of runs: damage, index, leftovers")
    check.add_argument("pool", metavar="POOL", help="folder of the run directories")
    check.add_argument(
        "--repair",
        action="store_true",
        help="move damage to POOL/quarantine, write the index anew, remove leftovers",
    )
    return parser, dict(added.choices)
