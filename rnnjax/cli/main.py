"""The command `rnnjax`: takes command-line arguments, returns an exit status.

Slow imports are delayed until a command needs them, so that help appears at once.
"""

import argparse
import atexit
import errno
import gc
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from rnnjax import interrupts
from rnnjax.cli.parsing import LISTS, METHODS, SEARCH_NUMBERS, parsers
from rnnjax.errors import UserError, did_you_mean, plain_warnings, shown, unknown
from rnnjax.user_code import begin_command


FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""System errors for a full disk or an exceeded quota."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; see `rnnjax.cli.parsing.EXAMPLES`.

    Args:
        argv: the arguments after the program name; None: those of this process.

    Returns:
        0 success; 1 a run failed or differs from its record, or a check failed; 2 wrong
        input, explained in one sentence on stderr; 130 interrupted; 143 terminated.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with plain_warnings():
            return _dispatch(arguments)
    except UserError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("rnnjax: interrupted", file=sys.stderr)
        return interrupts.status() or 130
    except BrokenPipeError:
        _silence()  # the reader has exited (`| head`)
        return 0
    except OSError as error:
        if error.filename is not None:
            return _refuse(f"cannot use '{error.filename}': {error.strerror}")
        if error.errno == errno.ENOENT:  # from os.getcwd
            return _refuse("the current folder no longer exists")
        if error.errno not in FULL:
            raise
        _silence()
        return _refuse(f"cannot write: {error.strerror}")


def _refuse(sentence: str) -> int:
    print(f"rnnjax: {shown(sentence)}", file=sys.stderr)
    return 2


def _silence() -> None:
    """Discard all further standard output; otherwise Python fails again on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def process() -> NoReturn:
    """The process of the command `rnnjax`: `program`, and an end at once.

    Python would first take apart all that was imported, which takes half a second. The
    handlers of `atexit` have run by then, as the first that is registered runs last.
    """
    ended: list[int] = []
    atexit.register(_end, ended)
    ended.append(program())
    sys.exit(ended[0])


def _end(ended: Sequence[int]) -> None:
    if ended:
        _flush()
        os._exit(ended[0])


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()


def program() -> int:
    """`main` with signals handled, once for a process; returns the exit status."""
    # Imports and tracing make many objects that stay, through which Python would search
    # for garbage again and again.
    gc.set_threshold(50_000, 20, 50)
    _open_streams()
    begin_command()
    with interrupts.watched():
        status = main()
    if interrupts.noted():
        # A normal exit would wait for threads that are still compiling.
        _flush()
        os._exit(status)
    return status


def _open_streams() -> None:
    """Open the null device for each standard stream that is closed (``>&-``).

    For a closed stream Python sets ``sys.stdout`` and the like to None, which libraries
    do not expect. Also, the first file that is opened would get the stream's number,
    and then receive the output of programs that we start.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # `open` reuses its number, the lowest free one
            stream = open(os.devnull, mode, encoding="utf-8")
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _dispatch(arguments: list[str]) -> int:
    parser, commands = parsers()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        raise unknown("command", arguments[0], commands)
    try:
        # Overrides may come before and after options; `rest` holds the latter.
        chosen, rest = parser.parse_known_args(arguments)
    except SystemExit as leave:  # --help and --version
        return int(leave.code or 0)
    for word in rest:
        if word.startswith("-"):
            of = commands[chosen.command] if chosen.command else parser
            flags = [f for action in of._actions for f in action.option_strings]
            raise UserError(f"unknown option '{word}'; {did_you_mean(word, flags)}")
    if chosen.command is None:
        parser.print_help()
        return 0
    return _run(chosen, rest, shlex.join(["rnnjax", *arguments]))


def _run(chosen: argparse.Namespace, rest: list[str], command: str) -> int:
    from rnnjax.cli import commands, tables

    if rest and "overrides" not in chosen:
        raise UserError(f"rnnjax {chosen.command} does not take '{rest[0]}'")
    overrides = [*getattr(chosen, "overrides", ()), *rest]
    if chosen.command in ("train", "demo"):
        if chosen.command == "demo":
            overrides = ["experiment=main", *overrides]
        if chosen.dry_run:
            overrides.append(f"dry_run={chosen.dry_run}")
        return commands.train(overrides, chosen.multirun, chosen.config_dir, command)
    if chosen.command == "probe":
        from rnnjax.cli.probing import probe, probe_sweep

        look = probe_sweep if chosen.multirun else probe
        return look(overrides, chosen.config_dir)
    if chosen.command == "reproduce":
        from rnnjax.cli.reproducing import reproduce

        return reproduce(overrides, chosen.all, chosen.stored)
    if chosen.command == "search":
        if chosen.method not in METHODS:
            raise unknown("method", chosen.method, METHODS)
        names = ("method", "objective", *SEARCH_NUMBERS)
        known = {name: getattr(chosen, name) for name in names}
        given = {name: value for name, value in known.items() if value is not None}
        return commands.search(overrides, given, chosen.config_dir, command)
    if chosen.command == "list":
        if chosen.what not in LISTS:
            raise unknown("list", chosen.what, LISTS)
        from rnnjax.cli.listing import show_list

        return show_list(chosen.what, chosen.config_dir)
    if chosen.command == "report":
        return commands.report(chosen.dir)
    if chosen.command == "fsck":
        return commands.fsck(chosen.pool, chosen.repair)
    if chosen.command == "check":
        from rnnjax.cli.checking import check

        return check(chosen)
    if chosen.command == "new-cell":
        from rnnjax.checking.new_cell import new_cell

        print(new_cell(chosen.name), end="")
        return 0
    if chosen.command == "cache":
        return commands.cache(chosen.clear)
    if chosen.command == "verify":
        from rnnjax.cli.verifying import verify

        return verify(chosen.run, chosen.all, chosen.run_code)
    if chosen.command == "compare":
        return tables.compare(chosen.first, chosen.second)
    return tables.runs(chosen)
