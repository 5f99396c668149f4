"""The W&B mirror writes offline without an account, in silence, once each run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnjax.errors import UserError
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import RunDir
from rnnjax.store.wandb_mirror import Unreachable, copies_in, mirror
from rnnjax.store.wandb_target import give_folders, place
from tests.store_samples import store_run
from tests.wandb_samples import content, copies, without_account


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    without_account(tmp_path, monkeypatch)
    return store_run(Pool(tmp_path / "pool"))


def test_offline(run: RunDir, capfd: pytest.CaptureFixture[str]):
    assert mirror(run, place(run.path.parent, group="first sweep"))
    key = run.manifest().run_id
    [file] = copies(run.path.parent)
    assert file.name == f"run-{key}.wandb"
    held = content(file)
    assert (held["id"], held["group"], held["project"]) == (
        key,
        "first sweep",
        "rnnjax",
    )
    assert held["history"] == [{"_step": 10, "loss": 1.0}, {"_step": 20, "loss": 0.5}]
    data = file.read_bytes()
    assert all(word in data for word in (b"lstm", b"accuracy", b"done"))
    assert capfd.readouterr() == ("", "")


def test_a_copy_is_made_again_only_if_it_lacks_something(run: RunDir):
    pool = run.path.parent
    to = place(pool)
    key = run.manifest().run_id
    first = mirror(run, to)
    assert first
    assert mirror(run, to, copies_in(pool)[key]) is None
    # The same run, longer by now: one folder is left, even of an uploaded copy.
    (first / f"run-{key}.wandb.synced").touch()
    longer = store_run(Pool(pool), steps=40)
    second = mirror(longer, to, copies_in(pool)[key])
    assert second and not first.exists()
    assert copies_in(pool) == {key: [second]}
    # A copy that was interrupted notes no more than its project, so it is none.
    (second / "rnnjax.json").write_text(json.dumps(to.address))
    third = mirror(longer, to, copies_in(pool)[key])
    assert third and not second.exists()
    # Another project, or entity, is another place on the server.
    other = place(pool, project="other")
    fourth = mirror(longer, other, copies_in(pool)[key])
    theirs = place(pool, environ={"WANDB_ENTITY": "team"})
    fifth = mirror(longer, theirs, copies_in(pool)[key])
    assert {*copies_in(pool)[key]} == {third, fourth, fifth}
    for there in (to, other, theirs):
        assert mirror(longer, there, copies_in(pool)[key]) is None


def test_command_line_wins_over_environment_wins_over_defaults(tmp_path: Path):
    plain = place(tmp_path, group="sweep", environ={})
    assert (plain.mode, plain.project, plain.group) == ("offline", "rnnjax", "sweep")
    assert (plain.root, plain.silent, plain.tags) == (tmp_path, True, None)
    environ = {
        "WANDB_PROJECT": "theirs",
        "WANDB_MODE": "online",
        "WANDB_DIR": "~/other",
        "WANDB_RUN_GROUP": "group",
        "WANDB_ENTITY": "team",
        "WANDB_TAGS": "a,b c",
        "WANDB_NOTES": "note",
        "WANDB_NAME": "name",
        "WANDB_SILENT": "False",
    }
    told = place(tmp_path, group="sweep", environ=environ)
    assert (told.mode, told.project, told.group) == ("online", "theirs", "group")
    assert told.root == Path.home() / "other"
    assert (told.entity, told.name, told.notes) == ("team", "name", "note")
    assert (told.tags, told.silent) == (("a", "b c"), False)
    mine = place(tmp_path, "offline", "mine", environ=environ)
    assert (mine.mode, mine.project) == ("offline", "mine")
    empty = dict.fromkeys(environ, "")
    assert place(tmp_path, group="sweep", environ=empty) == plain


@pytest.mark.parametrize(
    ("variables", "mode", "because"),
    [
        ({"WANDB_MODE": "dryrun"}, "offline", None),
        ({"WANDB_MODE": "run"}, "online", None),
        ({"WANDB_MODE": "disabled"}, "disabled", "WANDB_MODE=disabled"),
        ({"WANDB_DISABLED": "True"}, "disabled", "WANDB_DISABLED=True"),
        (
            {"WANDB_DISABLED": "1", "WANDB_MODE": "online"},
            "disabled",
            "WANDB_DISABLED=1",
        ),
        ({"WANDB_DISABLED": "false"}, "offline", None),
    ],
)
def test_modes_of_the_environment(variables, mode, because):
    to = place("pool", environ=variables)
    assert (to.mode, to.disabled_by) == (mode, because)
    assert place("pool", "offline", environ=variables).mode == "offline"


def test_a_mode_that_wandb_does_not_know():
    with pytest.raises(UserError, match="WANDB_MODE=of must be one of offline, "):
        place("pool", environ={"WANDB_MODE": "of"})


def test_the_environment_reaches_the_copy(run: RunDir, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    for name in ("PROJECT", "NAME", "NOTES", "TAGS", "RUN_GROUP", "ENTITY"):
        monkeypatch.setenv(f"WANDB_{name}", f"my-{name.lower()}")
    assert mirror(run, place(run.path.parent, group="sweep"))
    assert not copies(run.path.parent)
    [file] = copies(tmp_path / "elsewhere")
    held = content(file)
    names = ("project", "name", "notes", "entity")
    assert [held[name] for name in names] == [f"my-{name}" for name in names]
    assert (held["tags"], held["group"]) == (["my-tags"], "my-run_group")


def test_folders_of_its_own_where_the_user_has_none(tmp_path, monkeypatch):
    names = ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")
    for name in (*names, "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    give_folders(tmp_path / "pool")
    assert not any(name in os.environ for name in names)
    # A home that takes no folder; a choice of the user's that does is left alone.
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    give_folders(tmp_path / "pool")
    own = tmp_path / "pool" / "wandb" / ".own"
    assert os.environ["WANDB_CACHE_DIR"] == str(own / "cache")
    assert os.environ["WANDB_CONFIG_DIR"] == str(own / "config")
    assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "data")
    monkeypatch.delenv("HOME")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.delenv("WANDB_CONFIG_DIR")
    give_folders(tmp_path / "other")
    own = tmp_path / "other" / "wandb" / ".own"
    assert os.environ["WANDB_CACHE_DIR"] == str(own / "cache")
    assert os.environ["WANDB_CONFIG_DIR"] == str(own / "config")


SCRIPT = """
import sys
from pathlib import Path
from rnnjax.store.rundir import RunDir
from rnnjax.store.wandb_mirror import mirror
from rnnjax.store.wandb_target import place
run = RunDir(Path(sys.argv[1]))
assert mirror(run, place(run.path.parent))
"""


def test_without_a_home_the_terminal_stays_silent(run: RunDir, monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    words = [sys.executable, "-c", SCRIPT, str(run.path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(copies(run.path.parent)) == 1


def test_online_without_an_account_asks_nothing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
):
    import wandb

    monkeypatch.setattr(wandb, "login", lambda *, prompt: prompt)
    with pytest.raises(Unreachable, match="^no W&B account is configured"):
        mirror(run, place(run.path.parent, "online"))


def test_a_missing_library_is_one_sentence(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(Unreachable, match="wandb"):
        mirror(run, place(run.path.parent))


def test_a_failure_half_way_closes_the_run_and_keeps_the_older(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    import wandb

    closed: list[int] = []

    class Session:
        starting_step = 0
        dir = str(tmp_path / "run-1-x" / "files")

        def log(self, row: dict, step: int) -> None:
            raise ConnectionError("gone\nwith details")

        def finish(self, exit_code: int) -> None:
            closed.append(exit_code)

    older = tmp_path / "older"
    older.mkdir()
    (tmp_path / "run-1-x").mkdir()
    monkeypatch.setattr(wandb, "init", lambda **settings: Session())
    with pytest.raises(ConnectionError):
        mirror(run, place(run.path.parent), [older])
    assert closed == [1]
    assert older.exists()
    note = json.loads((tmp_path / "run-1-x" / "rnnjax.json").read_text())
    assert note == {"entity": None, "project": "rnnjax"}


def test_online_goes_on_behind_the_last_step_of_the_server(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    import wandb

    logged: list[int] = []

    class Session:
        starting_step = 11
        summary: dict = {}
        dir = str(tmp_path / "run-1-x" / "files")

        def log(self, row: dict, step: int) -> None:
            logged.append(step)

        def finish(self, exit_code: int) -> None:
            pass

    (tmp_path / "run-1-x").mkdir()
    monkeypatch.setattr(wandb, "login", lambda *, prompt: True)
    monkeypatch.setattr(wandb, "init", lambda **settings: Session())
    assert mirror(run, place(run.path.parent, "online"))
    assert logged == [20]


LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from rnnjax.store.rundir import RunDir
from rnnjax.store.wandb_mirror import mirror
from rnnjax.store.wandb_target import place

run, size = RunDir(Path(sys.argv[1])), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    mirror(run, place(run.path.parent))
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("size", [0, 400])
def test_a_disk_without_room_for_logs_is_no_traceback(run: RunDir, size: int):
    words = [sys.executable, "-c", LITTLE_ROOM, str(run.path), str(size)]
    root = Path(__file__).parents[1]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root)
    assert "Traceback" not in done.stderr and "Logging error" not in done.stderr
