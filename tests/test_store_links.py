"""A pool with links in it: nothing outside of it is written, moved or removed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.report.build import build
from rnnjax.store.checkpoint import PACKS
from rnnjax.store.fsck import examine, repair
from rnnjax.store.index import INDEX
from rnnjax.store.leases import LEASES
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import QUARANTINE
from rnnjax.store.rundir import CONFIG, HYDRA, MANIFEST, METRICS, NEXT, SOURCES, RunDir
from rnnjax.store.sweep_record import SWEEPS
from rnnjax.store.writing import begin_run, settle
from rnnjax.sweeps.hydra_node import HydraNode, write_folder
from tests.store_samples import manifest_of, store_run


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Somebody's folder, with an old file and an old folder of files."""
    theirs = tmp_path / "theirs"
    (theirs / "photos").mkdir(parents=True)
    for file in (theirs / "thesis.tex", theirs / "1", theirs / "photos" / "2"):
        file.write_text("years of work")
        os.utime(file, (0, 0))
    return theirs


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    pool = Pool(tmp_path / "pool")
    for seed in range(2):
        store_run(pool, seed=seed)
    return pool


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(f.relative_to(folder)): f.read_text() for f in files}


def mend(pool: Pool) -> None:
    for _ in range(2):
        repair(pool.path, examine(pool.path).findings)


@pytest.mark.parametrize("name", [PACKS, LEASES, SWEEPS, f"{LEASES}/aaaaaaaaaaaa"])
def test_a_repair_leaves_what_a_link_leads_to(pool: Pool, theirs: Path, name: str):
    before = contents(theirs)
    link = pool.path / name
    shutil.rmtree(link, ignore_errors=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(theirs)
    mend(pool)
    assert contents(theirs) == before
    assert not os.path.lexists(link)
    assert (pool.path / QUARANTINE / link.name).is_symlink()


@pytest.mark.parametrize("name", [f"{PACKS}/0123456789ab", f"{LEASES}/photos"])
def test_what_no_process_of_ours_wrote_is_kept(pool: Pool, theirs: Path, name: str):
    before = contents(theirs)
    (pool.path / name).parent.mkdir(exist_ok=True)
    shutil.copytree(theirs, pool.path / name)
    os.utime(pool.path / name / "thesis.tex", (0, 0))
    mend(pool)
    found = list(pool.path.rglob("thesis.tex"))
    assert [file.read_text() for file in found] == [before["thesis.tex"]]


def test_damage_is_not_moved_out_of_the_pool(pool: Pool, theirs: Path):
    before = contents(theirs)
    (pool.path / QUARANTINE).symlink_to(theirs)
    run = pool.runs()[0]
    (run.path / METRICS).write_bytes(b"")
    findings = examine(pool.path).findings
    assert any("is a link; repair needs" in finding.text for finding in findings)
    with pytest.raises(UserError, match="is a link"):
        repair(pool.path, findings)
    assert contents(theirs) == before
    assert run.path.is_dir()


def sealed_again(run: RunDir) -> Path:
    """A later result of a run, sealed and not in its place."""
    attempt = run.path / NEXT
    shutil.copytree(run.path, attempt)
    return attempt


@pytest.mark.parametrize("put", [settle, lambda run: mend(Pool(run.path.parent))])
@pytest.mark.filterwarnings("ignore:.*is not a folder; moved")
def test_a_later_result_brings_no_other_file_along(
    pool: Pool, theirs: Path, put: Callable[[RunDir], object]
):
    before = contents(theirs)
    run = pool.runs()[0]
    attempt = sealed_again(run)
    (attempt / SOURCES).mkdir(exist_ok=True)
    (attempt / SOURCES / "authorized_keys").write_text("theirs")
    (run.path / SOURCES).symlink_to(theirs)
    put(run)
    assert contents(theirs) == before
    assert not (attempt / MANIFEST).exists()
    (kept,) = pool.path.rglob("authorized_keys")
    assert kept.read_text() == "theirs"


def test_a_source_is_not_moved_through_a_link(pool: Pool, theirs: Path):
    before = contents(theirs)
    run = pool.runs()[0]
    attempt = sealed_again(run)
    (attempt / SOURCES).mkdir(exist_ok=True)
    (attempt / SOURCES / "cell.py").write_text("print()")
    (run.path / SOURCES).symlink_to(theirs)
    with pytest.warns(UserWarning, match="source' is not a folder; moved to"):
        settle(run)
    assert contents(theirs) == before
    assert run.source("cell").read_text() == "print()"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_of_hydra_is_replaced_and_never_followed(
    pool: Pool, theirs: Path, kind: str
):
    run = pool.runs()[0]
    (run.path / HYDRA).mkdir()
    file = run.path / HYDRA / CONFIG
    file.symlink_to(theirs / "thesis.tex") if kind == "link" else os.mkfifo(file)
    write_folder(run, HydraNode(), 0, [])
    assert (theirs / "thesis.tex").read_text() == "years of work"
    assert file.read_bytes() == (run.path / CONFIG).read_bytes()
    shutil.rmtree(run.path / HYDRA)
    (run.path / HYDRA).symlink_to(theirs)
    with pytest.raises(UserError, match="is a link"):
        write_folder(run, HydraNode(), 0, [])
    assert CONFIG not in contents(theirs)


def test_an_index_is_not_written_through_a_link(pool: Pool, theirs: Path):
    os.replace(pool.path / INDEX, theirs / INDEX)
    before = contents(theirs)
    (pool.path / INDEX).symlink_to(theirs / INDEX)
    for use in (lambda: pool.add(pool.runs()[0]), pool.rebuild):
        with pytest.raises(UserError, match="is a link"):
            use()
    assert contents(theirs) == before


def test_a_run_is_not_begun_behind_a_link(tmp_path: Path, theirs: Path):
    before = contents(theirs)
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "sample-abc").symlink_to(theirs)
    with pytest.raises(UserError, match="is a link"):
        begin_run(pool / "sample-abc", {}, manifest_of("abc"))
    assert contents(theirs) == before


@pytest.mark.parametrize("where", ["", "state.msgpack", CONFIG, f"{NEXT}/{METRICS}"])
def test_what_is_in_the_place_of_a_run_or_file_is_set_aside(tmp_path: Path, where: str):
    path = tmp_path / "pool" / "sample-abc"
    odd = path / where
    odd.parent.mkdir(parents=True)
    odd.mkdir() if where else odd.write_text("mine")
    with pytest.warns(UserWarning, match="moved to"):
        run = begin_run(path, {}, manifest_of("abc"))
    assert run.manifest().status == "running"
    assert os.listdir(tmp_path / "pool" / QUARANTINE) == [odd.name]


def test_a_report_draws_no_figure_behind_a_link(pool: Pool, theirs: Path):
    before = contents(theirs)
    (pool.path / "figures").symlink_to(theirs)
    with pytest.raises(UserError, match="is a link"):
        build(pool.path)
    assert contents(theirs) == before


@pytest.mark.parametrize("name", [".report.json", "report.html", "runs.csv"])
def test_a_report_does_not_wait_for_a_pipe(pool: Pool, name: str, capsys):
    os.mkfifo(pool.path / name)
    status = main(["report", str(pool.path)])
    assert status == (0 if name == ".report.json" else 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["soft", "hard"])
def test_a_temporary_file_is_never_one_that_was_there(pool: Pool, theirs: Path, link):
    """Its name cannot be guessed, and what has that name is not opened."""
    before = contents(theirs)
    for pid in range(os.getpid() - 2, os.getpid() + 3):
        link(theirs / "thesis.tex", pool.path / f".{INDEX}.{pid}.tmp")
    pool.rebuild()
    assert contents(theirs) == before and not (pool.path / INDEX).is_symlink()
