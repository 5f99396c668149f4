"""The settings of JAX that can change a program."""

from functools import cache
from typing import Any

import jax


IRRELEVANT = (
    "jax_compilation_cache",
    "jax_debug_log",
    "jax_dump",
    "jax_enable_compilation_cache",
    "jax_explain",
    "jax_log",
    "jax_num_cpu_devices",
    "jax_persistent_cache",
    "jax_traceback",
)
"""How the names of those settings of JAX begin that change no program."""


def settings() -> tuple[str, ...]:
    """The settings of JAX that can change a program, as they are in this thread."""
    config: Any = jax.config
    return tuple(f"{name}={getattr(config, name, None)}" for name in _relevant())


@cache
def _relevant() -> tuple[str, ...]:
    config: Any = jax.config
    return tuple(name for name in config.values if not name.startswith(IRRELEVANT))
