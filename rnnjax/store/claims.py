"""Claims on the runs of a pool: of several processes, one at a time works on a run.

A claim on a run is a file ``claims/<identity>/<generation>``; the highest generation
counts. It is made by linking a file of the claiming process there, which either happens
or fails as one (on network file systems too), and it shows who holds it and, by its
time, when that process last gave a sign of life: one touch renews all claims of a
process. A stale claim is not removed, which could hit a newer one, but overtaken by the
next generation.
"""

import os
import platform
import threading
import uuid
from pathlib import Path
from types import TracebackType

from rnnjax.store.atomic import make_folder, writable


CLAIMS = "claims"

STALE_SECONDS = 60.0
"""Silence after which a claim may be overtaken: six signs of life that did not come."""


class Claims:
    """Those of this process on runs of one pool, held while the context is open.

    Args:
        pool: the folder of the run directories, on a file system with hard links.
        stale_seconds: see `STALE_SECONDS`; equal in all processes of a pool.
    """

    def __init__(self, pool: str | Path, stale_seconds: float = STALE_SECONDS) -> None:
        self.folder = Path(pool) / CLAIMS
        self.stale_seconds = stale_seconds
        self.host = platform.node() or "unknown"
        self.sign = self.folder / f"{uuid.uuid4().hex}.sign"
        self._held: dict[str, Path] = {}
        self._over = threading.Event()

    def __enter__(self) -> "Claims":
        make_folder(self.folder)
        with writable(self.sign):
            self.sign.write_text(f"{os.getpid()} {self.host}\n")
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for identity in list(self._held):
            self.release(identity)
        self.sign.unlink(missing_ok=True)

    def take(self, identity: str) -> bool:
        """Claim a run; False if a living process works on it.

        Raises:
            UserError: the pool cannot be written.
        """
        folder = self.folder / identity
        latest = _latest(folder)
        if latest is not None and not self._is_stale(folder / str(latest)):
            return identity in self._held and self.holds(identity)
        own = folder / str(0 if latest is None else latest + 1)
        with writable(own):
            while True:
                folder.mkdir(exist_ok=True)
                try:
                    os.link(self.sign, own)
                    break
                except FileExistsError:
                    return False
                except FileNotFoundError:  # the folder was removed after a release
                    if not self.sign.exists():
                        raise
        if _latest(folder) != int(own.name):
            # The first look was long ago: a younger claim has come and is alive.
            own.unlink(missing_ok=True)
            return False
        self._held[identity] = own
        return True

    def holds(self, identity: str) -> bool:
        """Whether a claim is still this process's own, and was not overtaken."""
        own = self._held.get(identity)
        return own is not None and _latest(own.parent) == int(own.name)

    def release(self, identity: str) -> None:
        """Give a run back; nothing happens if it was not claimed."""
        own = self._held.pop(identity, None)
        if own is None:
            return
        # The own claim goes last: until then nobody else finds the run free.
        for number in sorted(_generations(own.parent)):
            if number <= int(own.name):
                (own.parent / str(number)).unlink(missing_ok=True)
        try:
            own.parent.rmdir()
        except OSError:
            pass  # somebody claimed the run again, or removed the folder first

    def _is_stale(self, claim: Path) -> bool:
        try:
            pid, _, host = claim.read_text().strip().partition(" ")
            if host == self.host and not _lives(int(pid)):
                return True
            # Both times by the clock of the file system.
            os.utime(self.sign)
            silence = self.sign.stat().st_mtime - claim.stat().st_mtime
        except FileNotFoundError:
            return True  # released just now
        except ValueError:
            return False
        return silence > self.stale_seconds

    def _live(self) -> None:
        while not self._over.wait(self.stale_seconds / 6):
            try:
                os.utime(self.sign)
            except FileNotFoundError:
                return


def _generations(folder: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isdecimal()]
    except FileNotFoundError:
        return []


def _latest(folder: Path) -> int | None:
    return max(_generations(folder), default=None)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
