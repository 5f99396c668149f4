"""The manifest says what was run where, and survives JSON."""

import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.store import environment as environments
from rnnjax.store import sealed_json
from rnnjax.store.environment import Git, environment, git_state, processor
from rnnjax.store.manifest import Manifest, OtherFormat, Slot
from tests.store_samples import ENVIRONMENT, manifest_of


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
RESULTS = st.dictionaries(
    st.text(max_size=6), st.floats() | st.booleans() | st.none(), max_size=4
)


@settings(deadline=None)
@given(TREES)
def test_portable_json_round_trip(value: Any):
    text = sealed_json.dumps(value)
    json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are not JSON.
    assert repr(sealed_json.loads(text)) == repr(value)


@settings(deadline=None)
@given(RESULTS, st.none() | st.text(max_size=9), st.sampled_from(["done", "diverged"]))
def test_manifest_round_trip(results: dict, error: str | None, status: str):
    manifest = manifest_of(
        "ab12",
        results=results,
        error=error,
        status=status,
        seeds={"seed": 3},
        pack=Slot(4, 1),
        run_seconds=math.inf,
    )
    assert repr(Manifest.from_json(manifest.to_json())) == repr(manifest)
    assert manifest.is_finished


def test_git_state_survives_json():
    state = Git("c0ffee", True, "dd")
    manifest = manifest_of("ab", environment=replace(ENVIRONMENT, git=state))
    assert Manifest.from_json(manifest.to_json()).environment.git == state


def test_fields_of_later_versions_are_ignored():
    entries = sealed_json.opened(manifest_of("ab").to_json())
    text = sealed_json.sealed({"colour": "red", **entries})
    assert Manifest.from_json(text) == manifest_of("ab")


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", b"\xff", '{"name": "x"}'])
def test_what_is_no_manifest(text: str | bytes):
    with pytest.raises(UserError, match="not a manifest"):
        Manifest.from_json(text)


def test_a_record_of_another_format_is_refused():
    text = manifest_of("ab").to_json()
    older = sealed_json.opened(text)
    del older["schema"]
    for entries in (older, {**older, "schema": 5}):
        said = "format (1|5).* reads format 4: move the folder of that run out of the"
        with pytest.raises(OtherFormat, match=said):
            Manifest.from_json(sealed_json.dumps(entries))


def test_status_is_one_of_six():
    with pytest.raises(ValueError, match="'finished'"):
        manifest_of("ab", status="finished")


def test_environment_of_this_machine():
    here = environment()
    assert here.versions["jax"] == jax.__version__
    assert here.versions.keys() >= {"python", "jaxlib", "flax", "optax"}
    assert here.device_count == len(jax.devices()) and here.cpu_count >= 1
    assert here.x64 == (jax.numpy.zeros(()).dtype == "float64")
    assert here.processor == processor()


def git(folder: Path, *arguments: str) -> str:
    person = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", *person, *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_git_states(tmp_path: Path):
    assert git_state(tmp_path / "none") is None
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q")
    assert git_state(package) is None  # Inside a repository that does not track it.
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "start")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(package) == Git(commit, False)
    (package / "new.py").write_text("")
    assert git_state(package) == Git(commit, True)
    (package / "__init__.py").write_text("a = 2\n")
    two = git_state(package)
    (package / "__init__.py").write_text("a = 3\n")
    three = git_state(package)
    assert two and three and two.diff and three.diff and two.diff != three.diff


def hostile(checkout: Path, program: str) -> dict[str, str]:
    """Ways in which the configuration of a checkout names a program."""
    (checkout / ".gitattributes").write_text("*.py filter=f diff=d\n*.txt filter=p\n")
    return {
        "core.fsmonitor": program,
        "core.hooksPath": str(checkout.parent),
        "core.pager": program,
        "diff.external": program,
        "diff.d.command": program,
        "diff.d.textconv": program,
        "filter.f.clean": program,
        "filter.f.required": "true",
        "filter.p.process": program,
        "filter.p.required": "true",
        # of an object that is missing
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(checkout),
        "remote.origin.uploadpack": program,
    }


@pytest.mark.parametrize("place", ["checkout", "submodule"])
def test_git_starts_no_program_that_a_checkout_names(tmp_path: Path, place: str):
    checkout, ran = tmp_path / "checkout", tmp_path / "ran"
    program = tmp_path / "post-index-change"
    program.write_text(f"#!/bin/sh\necho $0 $@ >> {ran}\ncat\n")
    program.chmod(0o755)
    package = checkout / "package"
    package.mkdir(parents=True)
    for name in ("__init__.py", "data.txt", "missing.py"):
        (package / name).write_text("a = 1\n")
    git(tmp_path, "init", "-q", "checkout")
    (package / "missing.py").write_text("b = 1\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "start")
    target = checkout
    if place == "submodule":
        git(tmp_path, "clone", "-q", "checkout", "other")
        allowed = "-c", "protocol.file.allow=always"
        git(checkout, *allowed, "submodule", "--quiet", "add", "../other", "sub")
        git(checkout, "commit", "-qm", "with a submodule")
        target = checkout / "sub"
        (target / "package" / "data.txt").write_text("changed\n")
    else:
        missing = git(checkout, "rev-parse", "HEAD:package/missing.py")
        (checkout / ".git" / "objects" / missing[:2] / missing[2:]).unlink()
    for name in ("__init__.py", "data.txt", "missing.py"):
        (package / name).write_text("changed\n")
    for key, value in hostile(target, str(program)).items():
        git(target, "config", key, value)
    found = git_state(package)
    assert not ran.exists(), ran.read_text()
    if place == "submodule":
        assert found and found.dirty and found.diff


def test_what_a_diff_is_does_not_depend_on_settings_of_git(tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "start")
    (tmp_path / "__init__.py").write_text("a = 2\n")
    found = git_state(tmp_path)
    for key, value in {"color.ui": "always", "diff.external": "/bin/true"}.items():
        git(tmp_path, "config", key, value)
    # settings of the user's that come by the environment are kept
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "filter.mine.clean")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "/bin/false")
    assert found and git_state(tmp_path) == found


def test_no_git_at_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert environments.git_state(Path(environments.__file__).parent) is None
