"""Leases: several processes share a pool, and each run is made by one of them."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rnnjax.store import leases as leases_module
from rnnjax.store.fsck import examine, repair
from rnnjax.store.lease_files import odd_entries, stale_files
from rnnjax.store.leases import LEASES, Leases
from rnnjax.store.pool import Pool
from tests.store_samples import store_run


RUNS = [f"run{number}" for number in range(60)]

WORKER = """
import os, sys, time
from pathlib import Path
from rnnjax.store.leases import Leases

pool, name, fate = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
with Leases(pool) as leases:
    left = sorted(os.environ["RUNS"].split(), key=lambda run: hash((name, run)))
    while left:
        for run in list(left):
            if not leases.take(run):
                continue
            if not (pool / f"{run}.done").exists():
                with open(pool / f"{run}.made", "a") as file:
                    file.write(f"{name}\\n")
                if fate == "dies":  # with a lease in its hand
                    print("leased", flush=True)
                    sys.stdin.readline()
                time.sleep(.002)
                (pool / f"{run}.done").touch()
            leases.release(run)
            left.remove(run)
"""


def start(pool: Path, name: str, fate: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(pool), name, fate],
        env=os.environ | {"RUNS": " ".join(RUNS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def go(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def test_three_processes_one_of_which_is_killed(tmp_path: Path):
    workers = [start(tmp_path, "a", "lives"), start(tmp_path, "b", "lives")]
    dying = start(tmp_path, "c", "dies")
    try:
        assert [read(worker) for worker in (*workers, dying)] == ["ready"] * 3
        go(dying)
        assert read(dying) == "leased"
        for worker in workers:
            go(worker)
        while len(list(tmp_path.glob("*.done"))) < len(RUNS) - 1:
            assert all(worker.poll() is None for worker in workers)
            time.sleep(0.01)
        time.sleep(0.2)
        # They wait for the run that a living process holds.
        assert len(list(tmp_path.glob("*.done"))) == len(RUNS) - 1
        dying.kill()
        dying.wait(60)
        assert [worker.wait(60) for worker in workers] == [0, 0]
    finally:
        for worker in (*workers, dying):
            worker.kill()
            worker.communicate()
    made = [(tmp_path / f"{run}.made").read_text().split() for run in RUNS]
    twice = [by for by in made if len(by) > 1]
    assert len(twice) == 1 and twice[0][0] == "c" and twice[0][1] in "ab"
    assert {by[-1] for by in made} == {"a", "b"}
    (left,) = (tmp_path / LEASES).iterdir()
    assert left.suffix == ".sign"  # of the one that was killed


@pytest.fixture
def two(tmp_path: Path):
    with Leases(tmp_path, 1000.0) as one, Leases(tmp_path, 1000.0) as other:
        yield one, other


def test_a_lease_keeps_others_off_until_it_is_released(two):
    one, other = two
    assert one.take("run") and one.take("run") and not other.take("run")
    assert one.holds("run") and not other.holds("run")
    other.release("run")
    assert one.holds("run")
    one.release("run")
    assert not one.holds("run") and other.take("run")


def test_silence_makes_a_lease_stale(two):
    one, other = two
    assert one.take("run")
    sign = one.folder / "run" / "0"
    past = sign.stat().st_mtime - 2000
    os.utime(sign, (past, past))  # one inode: all leases of that process
    assert other.take("run")
    assert other.holds("run") and not one.holds("run")
    one.release("run")  # It wakes up, and must not take the younger lease with it.
    assert other.holds("run") and not one.take("run")


def test_a_first_look_that_is_long_ago(two, monkeypatch):
    """Seen free, then leased and overtaken by others before the link is made."""
    from rnnjax.store import leases

    one, other = two
    assert other.take("run")
    (other.folder / "run" / "0").rename(other.folder / "run" / "1")
    other._held["run"] = other.folder / "run" / "1"
    looks = iter([None])
    real = leases.latest_generation
    monkeypatch.setattr(leases, "latest_generation", lambda f: next(looks, real(f)))
    assert not one.take("run")
    assert other.holds("run") and not (one.folder / "run" / "0").exists()


def test_no_lease_outlives_its_context(tmp_path: Path):
    with Leases(tmp_path) as one:
        assert one.take("a") and one.take("b")
    assert list((tmp_path / LEASES).iterdir()) == []


@pytest.mark.parametrize("text", ["", "nonsense", "12x far away", "\x00\xff", "99999"])
@pytest.mark.parametrize("years", [0, 1])
def test_a_lease_that_nobody_renews_is_overtaken(
    tmp_path: Path, text: str, years: int, monkeypatch: pytest.MonkeyPatch
):
    """Of another host, without an owner, from the future, by a clock that stands."""
    clock = [1000.0]
    monkeypatch.setattr(leases_module.time, "monotonic", lambda: clock[0])
    lease = tmp_path / LEASES / "run" / "4"
    lease.parent.mkdir(parents=True)
    lease.write_text(text)
    when = time.time() + years * 3e7
    os.utime(lease, (when, when))
    with Leases(tmp_path, 60.0) as leases:
        assert not leases.take("run") and leases.holder("run")
        clock[0] += 50
        assert not leases.take("run")
        os.utime(lease, (when + 1, when + 1))  # a sign of life
        clock[0] += 50
        assert not leases.take("run")
        clock[0] += 61
        assert leases.take("run") and leases.holds("run")


def test_processes_of_one_number_in_two_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A number is looked up where it counts, or a living process would be overtaken."""
    with Leases(tmp_path) as one, Leases(tmp_path) as other:
        assert one.take("run")
        sign = one.sign.read_text().split(" ")
        one.sign.write_text(" ".join(["2999999", *sign[1:-1], "pid:[1]\n"]))
        assert not other.take("run")
        one.sign.write_text(" ".join(["2999999", *sign[1:]]))
        assert other.take("run")


def test_signs_of_processes_that_are_gone_are_removed(tmp_path: Path):
    program = (
        "import os, sys; from rnnjax.store.leases import Leases\n"
        "Leases(sys.argv[1]).__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    (left,) = (tmp_path / LEASES).iterdir()
    with Leases(tmp_path) as own:
        assert list((tmp_path / LEASES).iterdir()) == [own.sign] != [left]


@pytest.mark.parametrize("what", ["sign", "all"])
def test_leases_that_somebody_removed_are_made_anew(two, what):
    one, other = two
    assert one.take("a")
    if what == "sign":
        one.sign.unlink()
    else:
        shutil.rmtree(one.folder)
    assert one.holds("a") == (what == "sign")
    assert one.take("b") and not other.take("b")
    assert other.take("a") == (what == "all")


def test_a_sign_that_its_owner_removes_meanwhile(tmp_path: Path, monkeypatch):
    """Between the look at the folder and the look at the file."""
    with Leases(tmp_path):
        other = tmp_path / LEASES / "other.sign"
        real = leases_module.sign_text

        def late(file: Path) -> str:
            file.unlink(missing_ok=True)
            return real(file)

        other.write_text("1 elsewhere\n")
        monkeypatch.setattr(leases_module, "sign_text", late)
        with Leases(tmp_path):
            assert not other.exists()


ODD = {
    "a file for a run": lambda folder: (folder / "ab").write_text("hi"),
    "a folder for a lease": lambda folder: (folder / "ab/0/x").mkdir(parents=True),
    "a folder for a sign": lambda folder: (folder / "a.sign" / "x").mkdir(parents=True),
    "a pipe for a sign": lambda folder: os.mkfifo(folder / "a.sign"),
    "a pipe for a lease": lambda folder: pipe_in(folder / "ab"),
}


def pipe_in(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "0")


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_lease_stops_nobody_for_ever(tmp_path: Path, kind: str):
    pool = Pool(tmp_path)
    store_run(pool)
    folder = tmp_path / LEASES
    folder.mkdir()
    ODD[kind](folder)
    with Leases(tmp_path) as one:
        assert one.take("cd")
    found = examine(tmp_path).findings
    assert len(found) == 1 and "is not a lease" in found[0].text
    repair(tmp_path, found)
    assert examine(tmp_path).findings == ()
    with Leases(tmp_path) as one:
        assert one.take("ab")


RIVAL = """
import sys
import threading
from pathlib import Path
from rnnjax.store.leases import Leases

print("ready", flush=True)
sys.stdin.readline()
for _ in range(400):
    with Leases(Path(sys.argv[1])) as leases:
        for run in "abcd":
            if leases.take(run):
                leases.release(run)
"""


def test_leases_that_come_and_go_in_three_processes(tmp_path: Path):
    """Folders and signs vanish between any two looks at them."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert read(worker) == "ready"
    for worker in workers:
        go(worker)
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0, 0, 0]


@pytest.mark.parametrize("what", ["folder", "loop", "long"])
def test_what_is_no_generation_of_a_lease(tmp_path: Path, what: str):
    inside = tmp_path / LEASES / "run"
    inside.mkdir(parents=True)
    name = "9" * 200 if what == "long" else "5"
    if what == "folder":
        (inside / name).mkdir()
    elif what == "loop":
        (inside / name).symlink_to(inside / name)
    else:
        (inside / name).write_text("")
    assert odd_entries(tmp_path) == [inside / name] and stale_files(tmp_path) == []
    with Leases(tmp_path, stale_seconds=0.0) as leases:
        time.sleep(0.01)
        assert leases.take("run") and leases.holds("run")
        leases.release("run")


def test_leases_that_come_and_go_are_never_odd(tmp_path: Path):
    over = threading.Event()

    def work() -> None:
        with Leases(tmp_path) as leases:
            while not over.is_set():
                assert leases.take("run")
                leases.release("run")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(2000):
            assert odd_entries(tmp_path) == []
    finally:
        over.set()
        worker.join()
