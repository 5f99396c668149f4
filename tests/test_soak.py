"""A small share of `make soak`, and that it is not blind."""

import shutil
from pathlib import Path

import pytest

from rnnjax.store.index import INDEX
from rnnjax.store.rundir import PARAMS
from scripts.soak import crowd, damage, disks, kills, memory
from scripts.soak.part import Limit, Outcome, Tally
from scripts.soak.samples import differences, look
from scripts.soak.wounds import OF_A_RUN, Wound, cut
from tests.launch_samples import jobs, start


def kept(outcome: Outcome) -> str:
    assert outcome.wrong == ()
    return outcome.summary


@pytest.mark.slow
def test_a_few_kills(tmp_path: Path):
    summary = kept(kills.soak(Limit(tmp_path, kills=3)))
    assert "0 lost, 0 half-read, 0 other faults, same bits" in summary


@pytest.mark.slow
def test_a_few_failing_disks(tmp_path: Path):
    scene = {"other probes": disks.SCENES["other probes"]}
    summary = kept(disks.soak(Limit(tmp_path, share=0.03), scene))
    assert "0 lost, 0 tracebacks" in summary


@pytest.mark.slow
def test_some_damage(tmp_path: Path):
    summary = kept(damage.soak(Limit(tmp_path, share=0.01)))
    assert "0 not found, 0 not named, 0 wrong numbers" in summary


@pytest.mark.slow
def test_a_crowd(tmp_path: Path):
    assert "0 failures" in kept(crowd.soak(Limit(tmp_path, share=0.1)))


@pytest.mark.slow
def test_calls_in_one_process(tmp_path: Path):
    assert "9 calls" in kept(memory.soak(Limit(tmp_path, share=0.01)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pool = tmp_path_factory.mktemp("soak") / "pool"
    assert start(pool, jobs("seed=0,1", probe="full")).failed == 0
    return pool


@pytest.fixture
def pool(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "pool"))


def test_a_little_damage(pool: Path, tmp_path: Path):
    """Of the files of a run and the index."""
    runs = sorted(file.parent.relative_to(pool) for file in pool.glob(f"*/{PARAMS}"))
    names = [name for name in OF_A_RUN if (pool / runs[0] / name).is_file()]
    kinds = [(runs[0] / name, runs[1] / name) for name in names]
    limit = Limit(tmp_path, share=0.005)
    for do in (damage.every_byte, damage.everything_read):
        report = do(pool, [*kinds, (Path(INDEX), None)], limit)
        assert report.faults == [] and report.counts.total() > len(names)


def chain(pool: Path, tally: Tally, stages: list[dict[str, str]]) -> kills.Chain:
    limit = Limit(pool.parent / "home")
    limit.home.mkdir()
    made = kills.Chain(limit, 0, "one sweep", stages, tally, kills.Counter())
    made.pool = pool
    return made


def test_what_is_lost_or_other_is_seen(pool: Path):
    bits = look(pool).bits
    first, second = bits
    tally = Tally()
    one = chain(pool, tally, [bits | {second: bits[first]}])
    one._read(0, "here")
    (said,) = tally.wrong
    assert said.startswith("other bits") and "files" not in said and second in said
    folder = next(pool.glob(f"*-{first}"))
    (folder / "metrics.parquet").write_bytes(b"")
    one._read(0, "here")
    assert tally.counts["half-read"] and tally.counts["lost"] == 1
    shutil.rmtree(folder)
    tally.counts.clear()
    one._read(0, "here")
    assert tally.counts["lost"] == 1


def test_what_was_replaced_does_not_come_back(pool: Path):
    bits = look(pool).bits
    tally = Tally()
    later = {key: text.replace('"steps": ', '"steps": 1') for key, text in bits.items()}
    one = chain(pool, tally, [bits, later])
    one.seen = dict(later)
    one._read(1, "here")
    assert tally.counts == {"other bits": 2}


def test_a_wound_that_nobody_names_is_seen():
    wound = Wound(Path("run/params.msgpack"), "emptied", cut(0))
    found = damage.judged(wound, {"loss": "1"}, {"loss": "2"}, ())
    assert [name for name, _ in found] == ["wrong numbers", "not found"]
    ((name, _),) = damage.judged(wound, {}, {}, ("something is wrong",))
    assert name == "not named"
    assert damage.judged(wound, {}, {}, ("'run/params.msgpack' is missing",)) == []


def test_differences_of_bits():
    one = '{"steps": 3, "files": {"params": "a"}}'
    other = '{"steps": 3, "files": {"params": "b"}}'
    assert differences(one, one) == "" and differences(None, None) == ""
    assert differences(one, other) == "params: a, not b"
    assert differences(one, None) != ""
