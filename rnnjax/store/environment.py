"""Where a run was computed: versions, device, flags, and the state of the source."""

import dataclasses
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import rnnjax


DECIDING = ("jax", "jaxlib", "flax", "optax")
"""Libraries whose version decides bits."""

LIBRARIES = (*DECIDING, "rnnjax")


@dataclasses.dataclass(frozen=True)
class Git:
    """The checkout that the package was imported from.

    Attributes:
        commit: full hash of HEAD.
        dirty: whether anything differs from that commit, untracked files included.
        diff: SHA-256 of the diff of tracked files against HEAD; None without one.
    """

    commit: str
    dirty: bool
    diff: str | None = None


@dataclasses.dataclass(frozen=True)
class Environment:
    """What a run was computed by.

    Attributes:
        versions: of Python and of `LIBRARIES`; a library that is not installed as a
            distribution (a bare checkout) has none and is left out.
        device: kind of the first accelerator, as JAX names it ("cpu", "NVIDIA H100").
        device_count: number of XLA devices.
        cpu_count: cores of the machine.
        xla_flags: the environment variable ``XLA_FLAGS``.
        x64: whether JAX computed in double precision by default.
        prng: JAX's generator of random numbers.
        matmul_precision: what JAX was asked for in products (``jax_default_matmul_``
            ``precision``); None: its default, which on a GPU may round factors to TF32.
        processor: digest of what its processor can do (`rnnjax.devices.processor`),
            which decides the last bits of a run on a CPU; None in older records.
        git: state of the checkout; None for an installed package.
    """

    versions: dict[str, str]
    device: str
    device_count: int
    cpu_count: int
    xla_flags: str
    x64: bool
    prng: str | None = None
    matmul_precision: str | None = None
    processor: str | None = None
    git: Git | None = None


def environment() -> Environment:
    """Collect what can be known; what cannot be known is left out, never an error."""
    git = git_state(Path(rnnjax.__file__).parent)
    return dataclasses.replace(_machine(), git=git)


def deciding() -> dict[str, Any]:
    """What decides the last bits of a run in this process, beside its configuration.

    A run goes on only where all of it is as it was.
    """
    here = _machine()
    versions = {name: here.versions.get(name) for name in DECIDING}
    names = ("device", "processor", "xla_flags", "matmul_precision")
    return versions | {name: getattr(here, name) for name in names}


def _machine() -> Environment:
    import jax

    from rnnjax.devices import processor

    devices, decided = jax.devices(), numerics()
    return Environment(
        versions=_versions(),
        device=devices[0].device_kind,
        device_count=len(devices),
        cpu_count=os.cpu_count() or 1,
        xla_flags=os.environ.get("XLA_FLAGS", ""),
        x64=decided["x64"],
        prng=decided["prng"],
        matmul_precision=getattr(jax.config, "jax_default_matmul_precision", None),
        processor=processor(),
    )


def numerics() -> dict[str, Any]:
    """The settings of JAX, in this process, that decide numbers.

    Double precision, and which generator draws random numbers and how.
    """
    import jax

    config: Any = jax.config
    return {
        "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
        "prng": config.jax_default_prng_impl,
        "partitionable": bool(config.jax_threefry_partitionable),
    }


def git_state(folder: Path) -> Git | None:
    """State of the git checkout that tracks `folder`; None if there is none.

    A package that was installed into a folder inside someone's repository is not
    tracked by it, and that repository's commit would say nothing about the package.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(folder, "rev-parse", "HEAD").decode().strip()
        # a submodule has a configuration of its own
        alone = "--ignore-submodules=all"
        dirty = bool(_git(folder, "status", "--porcelain", alone).strip())
        plain = "--binary", "--no-ext-diff", "--no-textconv", "--no-color"
        diff = _git(folder, "diff", "HEAD", *plain, alone)
    except (OSError, subprocess.SubprocessError):
        return None
    return Git(commit, dirty, hashlib.sha256(diff).hexdigest() if diff else None)


def _git(folder: Path, *arguments: str) -> bytes:
    """What git prints, without any program that the checkout's configuration names.

    A configuration can name programs that `git status` and `git diff` start, and where
    a package lies in a folder from somebody else, so does ``.git/config``.
    """
    return subprocess.run(
        ["git", "-c", "core.fsmonitor=false", *arguments],
        cwd=folder,
        env=os.environ | _GIT_ALONE | _without_filters(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=20,
    ).stdout


_GIT_ALONE = {
    # `git status` would otherwise take a lock that a user's own git waits for.
    "GIT_OPTIONAL_LOCKS": "0",
    # an object that is not there would be fetched by a program of the configuration
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
}


def _without_filters(folder: Path) -> dict[str, str]:
    """Variables that switch off the programs that convert files for git."""
    listed = subprocess.run(
        ["git", "config", "--null", "--name-only", "--get-regexp", r"^filter\."],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    ).stdout
    keys = [key for key in listed.decode(errors="surrogateescape").split("\0") if key]
    count = os.environ.get("GIT_CONFIG_COUNT", "")  # of the user's own, which stay
    settings = {}
    for number, key in enumerate(keys, int(count) if count.isdecimal() else 0):
        settings[f"GIT_CONFIG_KEY_{number}"] = key
        settings[f"GIT_CONFIG_VALUE_{number}"] = "false" if "required" in key else ""
        settings["GIT_CONFIG_COUNT"] = str(number + 1)
    return settings


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
