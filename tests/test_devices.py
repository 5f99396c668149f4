"""Where compiled programs are kept."""

import jax
import pytest

from rnnjax.devices import keep_compiled_programs


KEYS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def _same_settings_afterwards():
    before = {key: getattr(jax.config, key) for key in KEYS}
    yield
    for key, value in before.items():
        jax.config.update(key, value)


def folder():
    return getattr(jax.config, KEYS[0])


def test_compiled_programs_are_kept_under_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    keep_compiled_programs()
    assert folder() == str(tmp_path / "rnnjax" / "programs")


def test_a_folder_that_jax_was_given_wins(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    keep_compiled_programs()
    assert folder() == str(tmp_path)
