"""A program that is asked to end saves, says what is kept, and ends within seconds."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import pytest

from rnnjax import interrupts
from rnnjax.results import load
from rnnjax.store.checkpoint import COMMIT
from rnnjax.store.leases import LEASES
from rnnjax.sweeps import pack_run
from tests.launch_samples import SIZES, Witness, jobs, params_of, start


SECONDS = 5.0

PROGRAM = """
import os, sys, time
from rnnjax import interrupts

def busy():
    with interrupts.watched():
        {work}

try:
    busy()
except KeyboardInterrupt:
    print("interrupted", interrupts.status(), flush=True)
"""

READY = 'print("ready", flush=True)'
WAITS_FOREVER = f"""
        import threading
        {READY}
        threading.Event().wait()
"""
DEFERS = f"""
        with interrupts.closing(lambda: print("closed", flush=True)):
            with interrupts.deferred():
                {READY}
                while True:
                    time.sleep(.01)
"""
FILLS = f"""
        {READY}
        with interrupts.deferred():
            while True:
                os.write(2, bytes(999))
"""
LOOKS = f"""
        with interrupts.deferred():
            {READY}
            while not interrupts.noted():
                time.sleep(.01)
        print("saved", flush=True)
        raise KeyboardInterrupt
"""


@contextmanager
def started(work: str, errors: int) -> Iterator[subprocess.Popen[str]]:
    """A program that has said that it is ready; its errors go to `errors`."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(work=work.strip())],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def run(work: str, *signals: signal.Signals) -> tuple[str, int, float]:
    """Output, exit status and seconds of a program that gets signals."""
    with started(work, subprocess.STDOUT) as process:
        began = time.monotonic()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)
        out, _ = process.communicate(timeout=60)
        return out, process.returncode, time.monotonic() - began


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_what_can_be_interrupted_is(number):
    out, status, _ = run(WAITS_FOREVER, number)
    assert (out, status) == (f"interrupted {128 + number}\n", 0)


@BOTH
def test_what_looks_by_itself_ends_by_itself(number):
    out, _, _ = run(LOOKS, number)
    assert out == f"saved\ninterrupted {128 + number}\n"


@BOTH
def test_what_does_not_end_is_ended_after_it_closed(number):
    out, status, seconds = run(DEFERS, number)
    assert status == 128 + number and out.splitlines()[0] == "closed"
    assert interrupts.GRACE_SECONDS < seconds


def test_a_pipe_that_nobody_reads_keeps_no_process():
    with started(FILLS, subprocess.PIPE) as process:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (130, 143)


def test_a_second_signal_does_not_wait():
    out, status, seconds = run(DEFERS, signal.SIGINT, signal.SIGINT)
    assert status == 130 and seconds < interrupts.GRACE_SECONDS


def test_other_signals_and_handlers_stay_as_they_are():
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with interrupts.watched():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
    assert not interrupts.noted() and interrupts.status() is None
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if "_watch" in name]


LONG = [*SIZES, "probe=off", "task.distance=5", "steps=40000000", "seed=0,1"]
LONG += ["log_every=1000000", "eval.every=40000000", "checkpoint.every_seconds=1"]


def launched(pool: Path, launcher: str) -> subprocess.Popen[str]:
    """A launch that trains for long, with the compiled programs of the tests."""
    cache = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009
    words = ["train", "-m", *LONG, f"launcher={launcher}", f"out={pool}"]
    return subprocess.Popen(
        [sys.executable, "-m", "rnnjax", *words],
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize(
    ("launcher", "said_often"), [("packed", ("2 runs",)), ("joblib", ("1 run",) * 2)]
)
def test_a_launch_that_is_asked_to_end_saves_and_says_so(
    tmp_path, number, launcher, said_often
):
    process = launched(tmp_path / "pool", launcher)
    try:
        while len(list((tmp_path / "pool").glob(f"packs/*/{COMMIT}"))) < len(
            said_often
        ):
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number and "Traceback" not in said
    said = " ".join(said.split())
    found = re.findall(r"(\d runs?) saved after \d+ of 40000000 updates", said)
    assert found == list(said_often)
    assert set(load(tmp_path / "pool").runs["status"]) == {"interrupted"}
    assert list((tmp_path / "pool" / LEASES).iterdir()) == []


def test_a_pack_is_saved_where_it_was_asked_to_end(tmp_path, monkeypatch):
    """Between two looks of the host, and what goes on from there has the same bits."""
    planned = jobs("seed=0,1", "steps=200", "log_every=200", "eval.every=200")
    whole = start(tmp_path / "whole", planned).runs
    asked = iter([False, False, True])

    class Slow(Witness):
        def advance(self, updates: int, runs_ended: int) -> None:
            super().advance(updates, runs_ended)
            if updates and next(asked, False):
                monkeypatch.setattr(interrupts, "_noted", [signal.SIGINT])

    monkeypatch.setattr("rnnjax.training.loop.FIRST_STRIDE", 16)
    witness = Slow()
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "parts", planned, witness)
    (said,) = witness.warnings
    assert re.fullmatch(r"interrupted: .* 2 runs saved after \d+ of 200 .*", said)
    monkeypatch.setattr(interrupts, "_noted", [])
    again = start(tmp_path / "parts", planned)
    assert again.computed == 2
    for one, other in zip(whole, again.runs, strict=True):
        assert str(params_of(one)) == str(params_of(other))
        assert one.params_bytes() == other.params_bytes()
        assert one.metrics().equals(other.metrics())


@pytest.mark.filterwarnings("ignore:interrupted")
def test_a_run_that_is_being_sealed_at_an_interrupt_is_sealed(tmp_path, monkeypatch):
    """The launch waits for it; otherwise it would close what another thread seals.

    Python 3.11 takes a thread for ended if a signal comes while it is being joined.
    """
    real, main = pack_run.seal, threading.main_thread().ident
    assert main is not None
    asked = iter([partial(signal.pthread_kill, main, signal.SIGINT)])

    def slow(*given: Any) -> Any:
        time.sleep(0.2)  # until the launch waits for this thread
        next(asked, bool)()
        time.sleep(0.5)
        return real(*given)

    monkeypatch.setattr(pack_run, "seal", slow)
    planned = jobs("seed=0")
    # a shell starts commands in the background with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path, planned)
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    assert [*load(tmp_path).runs["status"]] == ["done"]
    again = start(tmp_path, planned)
    assert (again.computed, again.failed) == (0, 0)


@pytest.mark.slow
def test_workers_save_and_end_when_their_launch_is_killed(tmp_path):
    pool = tmp_path / "pool"
    process = launched(pool, "joblib")
    try:
        while len(list(pool.glob(f"packs/*/{COMMIT}"))) < 2:
            time.sleep(0.1)
    finally:
        process.kill()
    _, said = process.communicate(timeout=30)  # they hold its standard error open
    assert said.count("1 run saved after") == 2
    assert set(load(pool).runs["status"]) == {"interrupted"}
    assert list((pool / LEASES).iterdir()) == []
