"""Attack rnnjax for a long time, and count what it keeps of its promises.

    python -m scripts.soak [NAME…] [--seconds N | --kills N]

Parts by name; without one, all of them:

- *kills*: launches killed at random moments, and launched again;
- *disks*: a full or a failing disk at each operation on a file, and size limits;
- *damage*: every kind of file flipped, cut, emptied, lost, swapped, of another version;
- *crowd*: four launches on one pool, one of them killed and one stopped for a while;
- *memory*: `rnnjax.train` again and again in one process;
- *generated*: command lines, data files and pool files from a generator.

A part prints one line of counts, and a sentence for each promise that was not kept,
which makes the exit status 1. The pools of those stay in ``build/soak``. *memory* is
one process and runs at the same time as the others, which use two each.
"""

import argparse
import importlib
import shutil
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from scripts.soak.part import Limit, Outcome


PARTS = "memory kills disks damage crowd generated".split()

ONE_PROCESS = {"memory"}
"""Parts that run at the same time as the others."""

HOME = Path("build/soak")


def main() -> int:
    """Run the parts; the exit status is 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, help="of a part; then it ends early")
    parser.add_argument("--kills", type=int, default=200, help="of the part of kills")
    parser.add_argument("--share", type=float, default=1.0, help="of points of attack")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices")
    given = parser.parse_args()
    if unknown := set(given.names) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    names = given.names or PARTS
    run = partial(report, given=given)
    with ThreadPoolExecutor(1) as background:
        others = [name for name in names if name not in ONE_PROCESS]
        single = [name for name in names if name in ONE_PROCESS]
        kept = background.map(run, single)
        return int(not all([*map(run, others), *kept]))


def report(name: str, given: argparse.Namespace) -> bool:
    """Run a part and print its counts; whether every promise was kept."""
    home = HOME.absolute() / name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    limit = Limit(home, given.seconds, given.kills, given.share, seed=given.seed)
    outcome = attempt(name, limit)
    minutes = (time.monotonic() - limit.began) / 60
    print(f"{outcome.summary} ({minutes:.1f} minutes)", flush=True)
    if not outcome.wrong:
        shutil.rmtree(home)
    return not outcome.wrong


def attempt(name: str, limit: Limit) -> Outcome:
    """Run a part; one that breaks off does not keep the others from running."""
    try:
        return importlib.import_module(f"scripts.soak.{name}").soak(limit)
    except Exception:
        traceback.print_exc()
        return Outcome(f"{name}: it broke off", ("an exception",))


if __name__ == "__main__":
    sys.exit(main())
