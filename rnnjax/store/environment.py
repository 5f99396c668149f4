"""Where a run was computed: versions, device, flags, and the git state of the code."""

import dataclasses
import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rnnjax.paths import PACKAGE_FOLDER


DECIDING = ("jax", "jaxlib", "flax", "optax")
"""Libraries whose version can change the last bits of a run."""

LIBRARIES = (*DECIDING, "rnnjax")


@dataclasses.dataclass(frozen=True)
class Git:
    """The checkout that the package was imported from.

    Attributes:
        commit: full hash of HEAD.
        dirty: whether anything differs from that commit, including untracked files.
        diff: SHA-256 of the diff of tracked files against HEAD; None if it is empty.
    """

    commit: str
    dirty: bool
    diff: str | None = None


@dataclasses.dataclass(frozen=True)
class Environment:
    """The software and hardware that computed a run.

    Attributes:
        versions: versions of Python and of `LIBRARIES`; a library that is not installed
            as a distribution (a bare checkout) has no version and is left out.
        device: kind of the first device, as JAX names it ("cpu", "NVIDIA H100").
        device_count: number of XLA devices.
        cpu_count: number of cores of the machine.
        xla_flags: the environment variable ``XLA_FLAGS``.
        x64: whether JAX computed in double precision by default.
        prng: JAX's random number generator.
        matmul_precision: JAX's setting ``jax_default_matmul_precision``; None is JAX's
            default, which on a GPU may round factors to TF32.
        processor: digest of the features of the processor
            (`processor`), which determine the last bits of a run on a
            CPU; None in older records.
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
    """Collect what can be found out; what cannot is left out and never an error."""
    git = git_state(PACKAGE_FOLDER)
    return dataclasses.replace(_machine(), git=git)


def deciding() -> dict[str, Any]:
    """What, besides its configuration, determines the last bits of a run here.

    A run is resumed only where all of this is the same as before.
    """
    here = _machine()
    versions = {name: here.versions.get(name) for name in DECIDING}
    names = ("device", "processor", "xla_flags", "matmul_precision")
    return versions | {name: getattr(here, name) for name in names}


def _machine() -> Environment:
    import jax

    devices, decided = jax.devices(), numerics()
    return Environment(
        versions=dict(versions()),
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
    """The settings of JAX in this process that determine numbers.

    These are double precision, and which random number generator is used and how.
    """
    import jax

    config: Any = jax.config
    found = {
        "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
        "prng": config.jax_default_prng_impl,
        "partitionable": bool(config.jax_threefry_partitionable),
    }
    if offset := config.jax_random_seed_offset:  # 0 is left out of run ids
        found["seed_offset"] = offset
    return found


def git_state(folder: Path) -> Git | None:
    """State of the git checkout that tracks `folder`; None if there is none.

    A package installed into a folder inside some other repository is not tracked by
    that repository, whose commit would say nothing about the package.
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
    """Output of git, run so that it starts no program named in the configuration.

    A configuration can name programs that `git status` and `git diff` start, and if the
    package is in a folder that somebody else made, so is its ``.git/config``.
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
    # Otherwise `git status` takes a lock that the user's own git may wait for.
    "GIT_OPTIONAL_LOCKS": "0",
    # a missing object would be fetched by a program that the configuration names
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
}


def _without_filters(folder: Path) -> dict[str, str]:
    """Environment variables that disable git's configured filter programs."""
    listed = subprocess.run(
        ["git", "config", "--null", "--name-only", "--get-regexp", r"^filter\."],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    ).stdout
    keys = [key for key in listed.decode(errors="surrogateescape").split("\0") if key]
    count = os.environ.get("GIT_CONFIG_COUNT", "")  # keep the user's own entries
    settings = {}
    for number, key in enumerate(keys, int(count) if count.isdecimal() else 0):
        settings[f"GIT_CONFIG_KEY_{number}"] = key
        settings[f"GIT_CONFIG_VALUE_{number}"] = "false" if "required" in key else ""
        settings["GIT_CONFIG_COUNT"] = str(number + 1)
    return settings


@functools.cache
def versions() -> Mapping[str, str]:
    """Versions of Python and of `LIBRARIES`, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def processor() -> str:
    """Digest of the processor's architecture and features, 8 hexadecimal digits."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    words = [line for line in lines if line.startswith(("flags", "Features"))][:1]
    text = " ".join([platform.machine(), platform.processor(), *words])
    return hashlib.sha256(text.encode()).hexdigest()[:8]
