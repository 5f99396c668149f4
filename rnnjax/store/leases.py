"""Leases on the runs of a pool: only one process at a time works on a run.

A lease on a run is a file ``leases/<run id>/<generation>``; the highest generation is
the one that counts. To take a lease, a process hard-links its own sign file there,
which is atomic (on network file systems too). The content of the file says who holds
the lease, and its modification time says when that process last gave a sign of life:
since all leases of a process are links to one file, one touch renews them all. A stale
lease is not deleted, because that could hit a newer one; it is overtaken by linking the
next generation. Its holder may only have been suspended and may continue later, so a
process checks that it still `Leases.holds` a run before it writes anything of that run.
"""

import functools
import os
import platform
import re
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from rnnjax.paths import read_file
from rnnjax.store.atomic import make_folder, no_link, writable


LEASES = "leases"

GENERATION = r"[0-9]{1,9}"
"""Names of the files that are leases on one run."""

STALE_SECONDS = 60.0
"""A lease may be overtaken after this much silence: six missed signs of life."""


class Overtaken(Exception):
    """Another process has taken over runs whose leases had gone stale."""


class Leases:
    """The leases of this process on runs of one pool, held while the context is open.

    Args:
        pool: the folder of the run directories, on a file system with hard links.
        stale_seconds: see `STALE_SECONDS`; must be equal in all processes of a pool.
    """

    def __init__(self, pool: str | Path, stale_seconds: float = STALE_SECONDS) -> None:
        self.folder = Path(pool) / LEASES
        self.stale_seconds = stale_seconds
        self.sign = self.folder / f"{uuid.uuid4().hex}.sign"
        self._held: dict[str, Path] = {}
        self._watched: dict[Path, tuple[int, float]] = {}
        self._over = threading.Event()

    def __enter__(self) -> "Leases":
        make_folder(self.folder, self.folder.parent)
        with writable(self.sign):
            self._renew()
            for sign in self.folder.glob("*.sign"):
                # Keep the sign of a merely silent process: it may be suspended.
                with suppress(FileNotFoundError):  # its owner has just removed it
                    if sign != self.sign and gone(sign_text(sign)):
                        sign.unlink()
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release all leases."""
        self._over.set()
        for run_id in list(self._held):
            self.release(run_id)
        self.sign.unlink(missing_ok=True)

    def take(self, run_id: str) -> bool:
        """Lease a run; return False if a living process is working on it.

        Raises:
            UserError: the pool cannot be written.
        """
        folder = no_link(self.folder / run_id, self.folder.parent)
        latest = latest_generation(folder)
        if latest is not None and not self._is_stale(folder / str(latest)):
            return run_id in self._held and self.holds(run_id)
        own = folder / str(0 if latest is None else latest + 1)
        with writable(own):
            while True:
                self._renew()
                with suppress(FileExistsError):  # it exists, or did a moment ago
                    folder.mkdir()
                try:
                    os.link(self.sign, own)
                    break
                except FileExistsError:
                    return False
                except FileNotFoundError:
                    pass  # a release or a cleanup removed the folder
        if latest_generation(folder) != int(own.name):
            # Since the check above, another process has taken a newer, live lease.
            own.unlink(missing_ok=True)
            return False
        self._held[run_id] = own
        return True

    def holds(self, run_id: str) -> bool:
        """Whether this process still holds the lease, that is, was not overtaken."""
        own = self._held.get(run_id)
        return own is not None and latest_generation(own.parent) == int(own.name)

    def release(self, run_id: str) -> None:
        """Release the lease on a run; does nothing if it was not leased."""
        own = self._held.pop(run_id, None)
        if own is None:
            return
        # Remove our own lease last: until then no other process sees the run as free.
        for number in sorted(_generations(own.parent)):
            if number <= int(own.name):
                with suppress(OSError):  # someone may have put a folder there
                    (own.parent / str(number)).unlink(missing_ok=True)
        with suppress(OSError):  # leased again, or removed by another process
            own.parent.rmdir()

    def holder(self, run_id: str) -> str:
        """The process that works on a run, in words; empty if there is none."""
        latest = latest_generation(self.folder / run_id)
        try:
            sign = sign_text(self.folder / run_id / str(latest))
        except OSError:
            return ""
        pid, _, where = sign.strip().partition(" ")
        return f"process {pid} on {where.partition(' ')[0]}"

    def _is_stale(self, lease: Path) -> bool:
        """Whether the process that holds a lease has ended or gone silent.

        It has ended if no process on this machine has its number. Silence is measured
        by the clock of the file system. If that clock is ahead or does not advance,
        this process watches by its own clock whether the time of the lease changes.
        """
        try:
            ended = gone(sign_text(lease))
            changed = lease.lstat().st_mtime_ns
        except FileNotFoundError:
            return True  # released just now
        if ended:
            return True
        self._renew()
        limit = self.stale_seconds
        if self.sign.stat().st_mtime_ns - changed > limit * 1e9:
            return True
        now = time.monotonic()
        seen, since = self._watched.setdefault(lease, (changed, now))
        if seen != changed:
            self._watched[lease] = changed, now
            return False
        return now - since > limit

    def _renew(self) -> None:
        """Give a sign of life: touch the sign file; recreate it if it was deleted."""
        try:
            os.utime(self.sign)
        except FileNotFoundError:
            self.folder.mkdir(exist_ok=True)
            self.sign.write_text(f"{os.getpid()} {_where()}\n")

    def _live(self) -> None:
        while not self._over.wait(self.stale_seconds / 6):
            with suppress(OSError):
                self._renew()


def sign_text(lease: Path) -> str:
    """Content of a lease or sign file; empty, and so no one's, if it is not a file."""
    try:
        return read_file(lease).decode(errors="replace")
    except FileNotFoundError:
        raise
    except OSError:
        return ""


def gone(sign: str) -> bool:
    """Whether a lease or sign belongs to a process of this machine that has ended."""
    pid, _, where = sign.strip().partition(" ")
    return where == _where() and pid.isdecimal() and not lives(int(pid))


def _generations(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)
        return [int(name) for name in names if re.fullmatch(GENERATION, name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def latest_generation(folder: Path) -> int | None:
    return max(_generations(folder), default=None)


@functools.cache
def _where() -> str:
    """The machine, its current boot, and its process-id namespace.

    Containers may share a host name and a pool without sharing process numbers.
    """
    parts = [platform.node() or "unknown"]
    for read in (_boot, _namespace):
        try:
            parts.append(read())
        except OSError:  # only Linux has them
            pass
    return " ".join(parts)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def lives(pid: int) -> bool:
    """Whether a process with this number exists on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
