"""Files are replaced under a lock, so that a suspended process harms nobody."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnjax.errors import UserError
from rnnjax.store import locks
from rnnjax.store.fsck import examine, repair
from rnnjax.store.index import INDEX, append_row, read_index
from rnnjax.store.leases import Overtaken
from rnnjax.store.locks import locked
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import RunDir
from rnnjax.store.writing import begin_run, finish_run, settle
from tests.store_samples import metrics_of, store_run


HOLD = """
import sys
from pathlib import Path
from rnnjax.store.locks import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    pool = Pool(tmp_path / "pool")
    store_run(pool)
    return pool


def begin(run: RunDir, created: str) -> RunDir:
    return begin_run(run.path, run.config(), run.manifest().replace(created=created))


def finish(run: RunDir, created: str) -> RunDir:
    done = RunDir(run.home).manifest().replace(status="done", created=created)
    return finish_run(run, done.replace(files={}), metrics_of(5), params=b"later")


def suspended(act: Callable[[], object], monkeypatch) -> Callable[[], None]:
    """Start an action that stops before its first change of a name, and continue it."""
    reached, go, real = threading.Event(), threading.Event(), os.replace
    thread = threading.Thread(target=act)

    def replace(*places) -> None:
        if threading.current_thread() is thread and not go.is_set():
            reached.set()
            go.wait()
        real(*places)

    monkeypatch.setattr(os, "replace", replace)
    thread.start()
    assert reached.wait(30)

    def resume() -> None:
        go.set()
        thread.join()

    return resume


@pytest.mark.parametrize("what", ["begin", "finish", "settle"])
def test_a_process_suspended_while_it_replaces_files(
    pool: Pool, what: str, monkeypatch
):
    """Others wait, then refuse; it ends what it began; no result is lost."""
    (run,) = pool.runs()
    if what == "settle":
        shutil.copytree(run.path, run.path / "next")
        resume = suspended(lambda: settle(run), monkeypatch)
    elif what == "finish":
        own = begin(run, "own")
        resume = suspended(lambda: finish(own, "own"), monkeypatch)
    else:
        resume = suspended(lambda: begin(run, "own"), monkeypatch)
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.05)
    with pytest.raises(UserError, match="keeps '.*' locked and may be suspended"):
        begin(run, "next")
    with pytest.raises(UserError, match="may be suspended"):
        settle(run)
    resume()
    assert finish(begin(run, "next"), "next") == run
    pool.add(run)
    assert run.params_bytes() == b"later" and examine(pool.path).findings == ()


def test_a_process_suspended_before_it_replaces_files(pool: Pool, monkeypatch):
    """Another process has taken the run over and sealed it: nothing is written."""
    (run,) = pool.runs()
    own = begin(run, "own")
    other = begin(run, "other")
    finish(other, "other")
    sealed = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    with pytest.raises((UserError, Overtaken)):
        finish(own, "own")
    assert {f: f.read_bytes() for f in run.path.rglob("*") if f.is_file()} == sealed


def test_a_lock_of_another_process_ends_with_it(pool: Pool, monkeypatch):
    (run,) = pool.runs()
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.05)
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="may be suspended"):
            begin(run, "own")
        holder.kill()
    begin(run, "own")


def test_a_folder_that_was_replaced_while_it_was_locked(tmp_path: Path):
    """Whoever waited for it gets the lock of the folder in its place."""
    place, entered = tmp_path / "run", threading.Event()
    place.mkdir()

    def wait() -> None:
        with locked(place) as descriptor:
            same = os.path.samestat(os.fstat(descriptor), os.stat(place))
            assert same
            entered.set()

    with locked(place):
        thread = threading.Thread(target=wait)
        thread.start()
        (tmp_path / "other").mkdir()
        (tmp_path / "other").rename(place)  # over an empty folder, in one step
    thread.join()
    assert entered.is_set()


def test_a_file_system_without_locks(pool: Pool, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    (run,) = pool.runs()
    assert finish(begin(run, "own"), "own") == run


@pytest.mark.parametrize("torn", [b"", b'{"torn'])
def test_the_index_of_a_copy_by_hard_links(pool: Pool, tmp_path: Path, torn: bytes):
    """As `cp -al` makes it: the copy keeps its lines."""
    (pool.path / INDEX).open("ab").write(torn)
    copy = tmp_path / "copy"
    shutil.copytree(pool.path, copy, copy_function=os.link)
    before = (copy / INDEX).read_bytes()
    store_run(pool, seed=1)
    append_row(pool.path / INDEX, next(iter(pool.rows())))
    assert (copy / INDEX).read_bytes() == before
    index = read_index(pool.path / INDEX)
    assert len(index.rows) == 2 and index.damaged == 0
    store_run(Pool(copy), seed=2)
    repair(copy, examine(copy).findings)
    assert len(pool.runs()) == 2
