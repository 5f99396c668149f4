"""`fsck` finds every kind of damage, names it, and puts the pool right."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.results import load
from rnnjax.store.checkpoint import PACKS, PackCheckpoint
from rnnjax.store.findings import Finding
from rnnjax.store.fsck import examine, repair
from rnnjax.store.index import INDEX, content_of, write_rows
from rnnjax.store.leases import LEASES, Leases
from rnnjax.store.manifest import Damaged
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import QUARANTINE
from rnnjax.store.run_id import digest
from rnnjax.store.rundir import NEXT, RunDir
from rnnjax.store.sweep_record import (
    SWEEPS,
    SweepRecord,
    new_sweep,
    read_sweep,
    write_sweep,
)
from rnnjax.store.writing import begin_run, finish_run
from rnnjax.sweeps.hydra_node import HydraNode, write_folder
from tests.store_samples import metrics_of, probes_of, store_run


FILES = "config.yaml manifest.json metrics.parquet probes.nc params.msgpack".split()


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    pool = Pool(tmp_path / "pool")
    runs = [store_run(pool, seed=seed) for seed in range(3)]
    ids = tuple(run.manifest().run_id for run in runs)
    record = SweepRecord("one", "train", "2026-01-01", ids, pool.path)
    write_sweep(pool.path / "sweeps" / "one", record)
    return pool


def kinds(pool: Pool) -> list[str]:
    return sorted(finding.kind for finding in examine(pool.path).findings)


def first(pool: Pool) -> RunDir:
    return pool.runs()[0]


def contents(pool: Pool) -> dict[Path, bytes]:
    return {f: f.read_bytes() for f in pool.path.rglob("*") if f.is_file()}


def test_a_sound_pool(pool: Pool, capsys: pytest.CaptureFixture[str]):
    before = contents(pool)
    assert main(["fsck", str(pool.path)]) == 0
    out = capsys.readouterr().out
    assert out == f"{pool.path}: 3 runs, 3 finished and undamaged, no problems\n"
    assert contents(pool) == before


def flip(content: bytes, at: float) -> bytes:
    place = int(at * (len(content) - 1))
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


ATTACKS: dict[str, Callable[[bytes], bytes | None]] = {
    "first byte": lambda content: flip(content, 0),
    "middle": lambda content: flip(content, 0.5),
    "last byte": lambda content: flip(content, 1),
    "cut in half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\n",
    "gone": lambda content: None,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.filterwarnings("ignore:left out of the pool")
def test_damage_to_a_file_is_found_named_and_set_aside(
    pool: Pool, name: str, attack: str, capsys: pytest.CaptureFixture[str]
):
    run = first(pool)
    file = run.path / name
    content = ATTACKS[attack](file.read_bytes())
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert main(["fsck", str(pool.path)]) == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("damaged: ")]
    assert f"'{file}'" in line
    assert main(["fsck", str(pool.path), "--repair"]) == 0
    assert len(pool.runs()) == 2 and not run.path.exists()
    assert (pool.path / QUARANTINE / run.path.name).is_dir()
    assert kinds(pool) == ["note"]  # the sweep names it still, which is no damage


HOSTILE = {
    "aliases": "x: &x {a: 1}\ny: [*x, *x]\n",
    "itself": "rec: &r\n  a: 1\n  b: *r\n",
    "a merge": "<<: {a: 1}\n",
    "a date": "when: 2020-01-01\n",
    "bytes": "blob: !!binary aGVsbG8=\n",
    "a set": "st: !!set {a, b}\n",
    "pairs": "om: !!omap [a: 1]\n",
    "a key that is no text": "1: 2\n",
    "digits": f"big: 0x{'f' * 6000}\n",
    "depth": f"deep: {'{a: ' * 60}1{'}' * 60}\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_configuration_of_more_than_plain_values_is_damage(
    pool: Pool, text: str, capsys: pytest.CaptureFixture[str]
):
    run = first(pool)
    config = (run.path / "config.yaml").read_bytes() + text.encode()
    (run.path / "config.yaml").write_bytes(config)
    manifest = run.manifest()
    files = manifest.files | {"config.yaml": digest(config)}
    (run.path / "manifest.json").write_text(manifest.replace(files=files).to_json())
    said = f"'{run.path / 'config.yaml'}' cannot be read: "
    with pytest.warns(UserWarning, match=re.escape(f"left out of the pool: {said}")):
        assert main(["runs", str(pool.path)]) == 0
        assert len(pool.rows()) == 2
    with pytest.raises(Damaged, match=re.escape(said)):
        load(run.path)
    examination = examine(pool.path)
    [damaged] = [one for one in examination.findings if one.kind == "damaged"]
    assert damaged.text.startswith(said)
    repair(pool.path, examination.findings)
    assert (pool.path / QUARANTINE / run.path.name).is_dir()
    assert kinds(pool) == ["note"]  # of the sweep that lacks the run


@pytest.mark.filterwarnings("ignore:left out of the pool")
def test_a_flipped_bit_of_a_manifest_and_of_an_index(pool: Pool):
    """It is found wherever it is; in numbers, which stay readable, too."""
    run, index = first(pool), pool.path / INDEX
    generator = np.random.default_rng(0)
    for file in (run.path / "manifest.json", index):
        whole = file.read_bytes()
        for place in range(0, len(whole), 5):
            bit = 1 << int(generator.integers(8))
            turned = bytes([whole[place] ^ bit])
            file.write_bytes(whole[:place] + turned + whole[place + 1 :])
            found = kinds(pool)
            assert found and found != ["note"], (file, place, bit)
        file.write_bytes(whole)
    assert kinds(pool) == []


def test_an_index_that_tells_something_else(pool: Pool):
    index = pool.path / INDEX
    lines = index.read_bytes().splitlines(keepends=True)
    for content in (b"", b"".join(lines[:-1]), b"".join(lines[2:]), None):
        if content is None:
            index.unlink()
        else:
            index.write_bytes(content)
        assert kinds(pool) == ["index"]
        repair(pool.path, examine(pool.path).findings)
        assert kinds(pool) == [] and len(pool.runs()) == 3


def test_numbers_of_a_damaged_line_are_never_shown(pool: Pool):
    index = pool.path / INDEX
    text = index.read_text()
    assert '"results": {"accuracy": 0.5}' in text
    index.write_text(text.replace('"accuracy": 0.5}', '"accuracy": 0.9}'))
    assert sorted(pool.index()["accuracy"]) == [0.5, 0.6, 0.7]
    assert kinds(pool) == ["index"]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_killed_processes_are_removed(pool: Pool):
    run = first(pool)
    program = (
        "import os, sys; from rnnjax.store.leases import Leases\n"
        "leases = Leases(sys.argv[1]).__enter__(); leases.take('abc'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(pool.path)])
    figures = pool.path / "sweeps" / "one" / "figures"
    figures.mkdir()
    theirs = figures / ".photo.tmp", figures / ".thesis.99999999.tmp"
    for file in theirs:
        file.write_bytes(b"mine")
        os.utime(file, (0, 0))
    folder = pool.path / "notes" / ".drafts.99999999.01234567.tmp"
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))
    for place in (figures, run.path):
        torn = place / f".lag.png.{dead_pid()}.01234567.tmp"
        torn.write_bytes(b"half")
        past = time.time() - 90
        os.utime(torn, (past, past))
    begin_run(run.path, run.config(), run.manifest())
    done = PackCheckpoint(pool.path / PACKS / "old", [run.manifest().run_id])
    done.save(3, {"x": np.ones(2)})
    # a sign and its lease, two figures, an attempt, a checkpoint
    assert kinds(pool) == ["leftover"] * 6
    assert main(["fsck", str(pool.path)]) == 0
    repair(pool.path, examine(pool.path).findings)
    assert kinds(pool) == [] and len(pool.runs()) == 3
    assert all(file.exists() for file in theirs) and folder.is_dir()
    assert list((pool.path / LEASES).rglob("*.sign")) == []


def test_a_damaged_checkpoint_is_named(pool: Pool):
    pack = PackCheckpoint(pool.path / PACKS / "ab", ["unfinished"])
    pack.save(3, {"x": np.arange(400.0)}, {"metrics": {"step": np.arange(3)}})
    assert kinds(pool) == []
    files = [file for file in pack.folder.rglob("*") if file.is_file()]
    for file in files:
        whole = file.read_bytes()
        for content in (flip(whole, 0.5) if whole else b"x", whole[:-2], b""):
            if content != whole:
                file.write_bytes(content)
                (finding,) = examine(pool.path).findings
                assert finding.kind == "damaged" and str(file) in finding.text
        file.write_bytes(whole)
    assert len(files) > 3


def test_a_run_of_another_format_is_refused_until_it_is_moved(
    pool: Pool, capsys: pytest.CaptureFixture[str]
):
    run = RunDir(shutil.copytree(first(pool).path, pool.path / "old-aaaaaaaaaaaa"))
    text = run.manifest().replace(run_id="aaaaaaaaaaaa", schema=1).to_json()
    (run.path / "manifest.json").write_text(text)
    for words in ["runs"], ["fsck"], ["fsck", "--repair"], ["report"]:
        assert main([*words, str(pool.path)]) == 2
        said = capsys.readouterr().err
        assert f"'{run.path / 'manifest.json'}': it is a record of format 1" in said
        assert "move the folder of that run out of the pool, or read it with" in said
    shutil.move(run.path, pool.path.parent)
    assert main(["runs", str(pool.path)]) == 0


def test_what_somebody_works_on_is_left_alone(pool: Pool):
    run = first(pool)
    with Leases(pool.path) as leases:
        leases.take(run.manifest().run_id)
        (run.path / "params.msgpack").write_bytes(b"being written")
        found = examine(pool.path)
        assert found.findings == () and found.busy == 1
    assert kinds(pool) == ["damaged"]


@pytest.mark.filterwarnings("ignore:the pool .* lacks 1")
def test_one_run_twice_and_a_sweep_without_its_run(pool: Pool):
    run = first(pool)
    shutil.copytree(run.path, pool.path / f"zcopy-{run.manifest().run_id}")
    assert kinds(pool) == ["leftover"]
    repair(pool.path, examine(pool.path).findings)
    assert kinds(pool) == [] and len(pool.runs()) == 3
    shutil.rmtree(run.path)
    assert kinds(pool) == ["index", "note"]
    (pool.path / "sweeps" / "one" / "sweep.json").write_text("{")
    assert kinds(pool) == ["index", "note"]


@pytest.mark.parametrize("name", ["none", "file", "empty"])
def test_what_is_no_pool(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert main(["fsck", str(tmp_path / name)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("rnnjax: ") and err.count("\n") == 1


@pytest.mark.parametrize("moved", range(5))
def test_a_later_result_of_which_a_part_is_in_its_place(
    pool: Pool, moved: int, monkeypatch: pytest.MonkeyPatch
):
    """Wherever the move ended, both are one result; a repair loses no half of it."""
    run, real = first(pool), os.replace
    count = 0

    def replace(source: Path, target: Path) -> None:
        nonlocal count
        if source.parent.name == NEXT and not source.name.startswith("."):
            count += 1
            if count > moved:
                raise OSError(28, "No space left on device")
        real(source, target)

    attempt = begin_run(run.path, run.config(), run.manifest())
    ended = attempt.manifest().replace(status="done", results={"accuracy": 0.9})
    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space"):
        patch.setattr(os, "replace", replace)
        finish_run(attempt, ended, metrics_of(7), probes_of(5), b"later")
    pool.add(run)
    assert count == moved + 1 and kinds(pool) == ["unsettled"]
    repair(pool.path, examine(pool.path).findings)
    assert kinds(pool) == [] and not (run.path / NEXT).exists()
    assert first(pool).params_bytes() == b"later"
    assert first(pool).manifest().results == {"accuracy": 0.9}


def test_an_attempt_with_a_damaged_manifest_is_a_leftover(pool: Pool):
    run = first(pool)
    attempt = begin_run(run.path, run.config(), run.manifest())
    (attempt.path / "manifest.json").write_bytes(b"{")
    assert kinds(pool) == ["leftover"]
    repair(pool.path, examine(pool.path).findings)
    assert kinds(pool) == [] and first(pool).params_bytes() == b"weights"


def exchange(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_folders_that_were_exchanged_keep_their_numbers(pool: Pool):
    """A row of the index is of a manifest, not of what has the folder's name now."""
    first, second, _ = pool.runs()
    before = {row.run_id: row.results for row in pool.rows()}
    exchange(first.path, second.path)
    assert {row.run_id: row.results for row in pool.rows()} == before
    for row in pool.rows():
        assert RunDir(pool.path / row.folder).manifest().run_id == row.run_id


def test_an_older_state_of_a_run_is_not_taken_for_its_result(pool: Pool):
    run = first(pool)
    begun = run.manifest().replace(status="running", results={})
    (run.path / "manifest.json").write_text(begun.to_json())
    rows = {row.run_id: row for row in pool.rows()}
    assert not rows[begun.run_id].is_finished


def test_of_two_copies_the_finished_one_stays(pool: Pool):
    run = first(pool)
    copy = RunDir(pool.path / f"a-copy-{run.manifest().run_id}")
    shutil.copytree(run.path, copy.path)
    begun = run.manifest().replace(status="running", results={})
    (copy.path / "manifest.json").write_text(begun.to_json())
    (pool.path / "a-link").symlink_to(run.path)
    assert main(["fsck", str(pool.path), "--repair"]) == 0
    assert run.path.is_dir() and not copy.path.exists()
    assert len(pool.runs()) == 3 and run in pool.runs()


def test_an_attempt_of_another_run_is_none(pool: Pool):
    first, second, _ = pool.runs()
    shutil.copytree(second.path, first.path / NEXT)
    assert first.manifest().run_id != second.manifest().run_id
    repair(pool.path, examine(pool.path).findings)
    assert len(pool.runs()) == 3 and not (first.path / NEXT).exists()
    assert kinds(pool) == []


@pytest.mark.parametrize("place", ["", "source", ".hydra"])
def test_files_of_the_user_in_an_attempt_are_kept(pool: Pool, place: str):
    """By repair, by a launch, and by an attempt that fails or replaces the run."""
    run = first(pool)
    manifest = run.manifest()

    def with_notes() -> RunDir:
        attempt = begin_run(run.path, run.config(), manifest)
        (attempt.path / place).mkdir(exist_ok=True)
        (attempt.path / place / "notes.txt").write_text("mine")
        return attempt

    with_notes()
    repair(pool.path, examine(pool.path).findings)
    with_notes()
    with pytest.warns(UserWarning, match="is not an attempt"):
        begin_run(run.path, run.config(), manifest)
    for status in ("failed", "done"):
        finish_run(with_notes(), manifest.replace(status=status), metrics_of())
        assert sorted(run.path.rglob("*.txt")) == [
            run.path / NEXT / place / "notes.txt"
        ]
        repair(pool.path, examine(pool.path).findings)
    assert kinds(pool) == []
    kept = (pool.path / QUARANTINE).rglob("notes.txt")
    assert [file.read_text() for file in kept] == ["mine"] * 4


def test_what_was_mended_meanwhile_is_left_alone(pool: Pool):
    run = first(pool)
    whole = (run.path / "params.msgpack").read_bytes()
    (run.path / "params.msgpack").write_bytes(b"torn")
    found = examine(pool.path)
    (run.path / "params.msgpack").write_bytes(whole)
    repair(pool.path, found.findings)
    assert run.path.is_dir() and kinds(pool) == []


def test_what_is_begun_under_another_name_is_left_alone(pool: Pool):
    run = first(pool)
    run_id = run.manifest().run_id
    best = RunDir(run.path.rename(pool.path / "best"))
    with Leases(pool.path) as leases:
        leases.take(run_id)
        attempt = begin_run(best.path, best.config(), best.manifest())
        repair(pool.path, examine(pool.path).findings)
        assert attempt.path.is_dir()


def test_a_copy_of_the_users_file_is_part_of_the_run(tmp_path: Path):
    pool = Pool(tmp_path / "pool")
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    run = store_run(pool, digests={"cell": digest})
    (run.path / "source").mkdir()
    (run.path / "source" / "cell.py").write_bytes(b"")
    assert kinds(pool) == []
    (run.path / "source" / "cell.py").write_bytes(b"other = 1")
    assert kinds(pool) == ["damaged"]
    (run.path / "source" / "cell.py").unlink()
    assert kinds(pool) == ["damaged"]


OTHERS = {
    "file": lambda place: place.write_text("hi"),
    "link to itself": lambda place: place.symlink_to(place),
    "pipe": os.mkfifo,
    "folder": lambda place: (place / "x").mkdir(parents=True),
}
WRONG = [(name, kind) for name in (LEASES, PACKS, SWEEPS) for kind in list(OTHERS)[:3]]
WRONG += [(INDEX, kind) for kind in list(OTHERS)[1:]]


@pytest.mark.parametrize(("name", "kind"), WRONG)
def test_what_stands_where_something_else_has_to_be_is_moved(
    pool: Pool, name: str, kind: str
):
    place = pool.path / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    OTHERS[kind](place)
    (found,) = examine(pool.path).findings
    assert f"'{place}'" in found.text and "quarantine" in found.text
    repair(pool.path, [found])
    assert kinds(pool) == [] and os.path.lexists(pool.path / QUARANTINE / name)
    assert len(pool.runs()) == 3


def test_a_checkpoint_is_left_to_a_process_that_began_meanwhile(pool: Pool):
    """After the look, or between the look and the repair."""
    torn, spent = (pool.path / PACKS / name for name in ("torn", "spent"))
    for folder in (torn, spent):
        folder.mkdir(parents=True)
    (torn / "commit.json").write_text("{")
    found = examine(pool.path).findings
    assert sorted(finding.kind for finding in found) == ["damaged", "leftover"]
    with Leases(pool.path) as leases:
        leases.take("ab")
        repair(pool.path, found)
        assert torn.exists() and spent.exists() and kinds(pool) == []
    repair(pool.path, found)
    assert not torn.exists() and not spent.exists()


def test_a_line_of_the_index_with_other_numbers_is_found(pool: Pool):
    """Sealed anew by whoever changed it."""
    rows = pool.rows()
    changed = dataclasses.replace(rows[0], results=rows[0].results | {"accuracy": 1.0})
    write_rows(pool.path / INDEX, [changed, *rows[1:]])
    assert kinds(pool) == ["index"]
    repair(pool.path, examine(pool.path).findings)
    assert kinds(pool) == [] and {*map(content_of, pool.rows())} == {
        *map(content_of, rows)
    }


def test_a_sweep_that_lost_its_record_is_named(pool: Pool):
    (pool.path / SWEEPS / "one" / "sweep.json").unlink()
    (found,) = examine(pool.path).findings
    assert found.kind == "note" and "one/sweep.json'" in found.text


def test_a_launch_killed_before_it_wrote_the_record_of_its_sweep(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    """The folder of a sweep is there with its record or not at all."""
    record = read_sweep(pool.path / SWEEPS / "one")
    sweeps = pool.path / SWEEPS

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            new_sweep(pool.path, record)
    (left,) = sweeps.glob(".*.tmp")
    assert kinds(pool) == []  # it may belong to a launch that is just beginning
    dead = left.rename(sweeps / f".sweep.{dead_pid()}.01234567.tmp")
    os.utime(dead, (0, 0))
    assert kinds(pool) == ["leftover"]
    repair(pool.path, examine(pool.path).findings)
    assert [entry.name for entry in sweeps.iterdir()] == ["one"]


def test_two_sweeps_of_one_name_get_two_folders(pool: Pool):
    record = read_sweep(pool.path / SWEEPS / "one")
    (pool.path / SWEEPS / "one-2").write_text("a file of the user's")
    made = [new_sweep(pool.path, record) for _ in range(2)]
    assert [folder.name for folder in made] == ["one-3", "one-4"]
    assert [read_sweep(folder).name for folder in made] == ["one-3", "one-4"]


def test_a_checkpoint_that_lost_its_commit_is_named(pool: Pool):
    """It is like one that was killed in its first save: nothing goes on from it."""
    checkpoint = PackCheckpoint(pool.path / PACKS / "0123", ["a"])
    checkpoint.save(1, {"w": np.ones(2)}, {})
    (checkpoint.folder / "commit.json").unlink()
    (found,) = examine(pool.path).findings
    assert found.kind == "leftover" and str(checkpoint.folder) in found.text


@pytest.mark.parametrize("what", ["file", "pipe", "loop"])
def test_something_else_in_the_place_of_an_attempt(pool: Pool, what: str):
    """A launch moves it and goes on; so does repair."""
    run = first(pool)
    manifest = run.manifest()
    for mend in (lambda: begin_run(run.path, run.config(), manifest), None):
        place = run.path / NEXT
        shutil.rmtree(place, ignore_errors=True)
        if what == "file":
            place.write_text("mine")
        elif what == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to(place)
        if mend:
            with pytest.warns(UserWarning, match="moved to"):
                assert mend().path == place
        else:
            assert kinds(pool) == ["leftover"]
            repair(pool.path, examine(pool.path).findings)
            assert not os.path.lexists(place)
    assert len(list((pool.path / QUARANTINE).iterdir())) == 2


def test_a_file_in_the_place_of_a_folder_of_a_sealed_run(pool: Pool):
    """The later result takes its place all the same, and nothing else waits for it."""
    run = first(pool)
    manifest = run.manifest()
    attempt = begin_run(run.path, run.config(), manifest)
    write_folder(attempt, HydraNode(), 0, [])
    (run.path / ".hydra").write_text("mine")
    with pytest.raises(UserError, match="cannot write"):
        finish_run(attempt, manifest.replace(files={}), metrics_of(3))
    (pool.runs()[1].path / "config.yaml").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="hydra' is not a folder; moved to"):
        repair(pool.path, examine(pool.path).findings)
    assert kinds(pool) == ["note"] and run.metrics().equals(metrics_of(3))
    assert (pool.path / QUARANTINE / ".hydra").read_text() == "mine"


def test_a_repair_that_fails_stops_no_other(pool: Pool):
    def fail() -> None:
        raise UserError("no")

    (first(pool).path / "config.yaml").write_bytes(b"damaged")
    bad = Finding("leftover", "cannot be mended", fail)
    with pytest.raises(UserError, match="^no$"):
        repair(pool.path, [bad, *examine(pool.path).findings])
    assert kinds(pool) == ["note"]  # the sweep lacks a run


def test_of_two_equal_copies_the_one_with_its_own_name_stays(pool: Pool):
    run = first(pool)
    shutil.copytree(run.path, pool.path / "aaa")
    repair(pool.path, examine(pool.path).findings)
    assert run.path.is_dir() and not (pool.path / "aaa").exists()


def test_a_temporary_file_of_the_user_in_an_unfinished_run(pool: Pool):
    run = begin_run(pool.path / "new-aaaaaaaaaaaa", {}, first(pool).manifest())
    theirs = run.path / ".notes.tmp"
    theirs.write_text("mine")
    (run.path / ".x.tmp").mkdir()
    begin_run(run.path, {}, first(pool).manifest())
    assert theirs.read_text() == "mine"


def test_folders_exchanged_whose_manifests_have_one_size_and_time(pool: Pool):
    one, other = (run.path for run in pool.runs()[:2])
    numbers = [run.manifest().run_id for run in pool.runs()[:2]]
    sizes = [(path / "manifest.json").stat().st_size for path in (one, other)]
    assert sizes[0] == sizes[1]
    for path in (one, other):
        os.utime(path / "manifest.json", (0, 0))
    pool.rebuild()
    exchange(one, other)
    for number in numbers:
        assert pool.find(number) is None  # by its folder
        (row,) = [row for row in pool.rows() if row.run_id == number]
        assert RunDir(pool.path / row.folder).manifest().run_id == number
