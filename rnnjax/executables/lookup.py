"""Find a compiled program by what it is made from, or compile it and keep it.

An entry of the folder is found under a digest. That of a program is the digest of its
HLO and of the structure of its result. In a process of the command line, entries under
digests of source code, static values and arguments name it, so that it is found before
anything is traced. Elsewhere, and after an edit that does not change the HLO, a program
is traced and lowered, but not compiled.
"""

import hashlib
import importlib
import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.errors import UserError
from rnnjax.executables import folder, pytrees
from rnnjax.executables.description import Description, Undescribed, sharding
from rnnjax.executables.pytrees import Structure
from rnnjax.executables.settings import settings
from rnnjax.executables.stored import (
    check_portable,
    from_bytes,
    to_bytes,
    written_or_traced,
)
from rnnjax.store.environment import processor, versions
from rnnjax.store.source import digest_of, traced_modules
from rnnjax.user_code import only_own_code
from rnnjax.xla_options import Options


VARIABLES = "FLAX_", "JAX_", "LIBTPU_", "TF_", "XLA_"
"""How the names of environment variables begin that may change a program."""


def compiled(
    lower: Callable[[], jax.stages.Lowered],
    made_from: Sequence[Any],
    arguments: Sequence[Any],
    options: Options | None = None,
    structure: Callable[[], Structure] | None = None,
) -> Callable[..., Any]:
    """A program, loaded from the folder of programs or else compiled, and kept there.

    Args:
        lower: lowers the program, with ``keep_unused=True``.
        made_from: the functions, classes and static values that are traced. Together
            with the arguments they must decide the program.
        arguments: arrays or their shapes. Static arguments belong to `made_from`.
        options: XLA's options.
        structure: finds the structure of the result by tracing, for results whose
            structure holds more than names.
    """
    return found_or_lowered(lower, made_from, arguments, options, structure)()


def found_or_lowered(
    lower: Callable[[], jax.stages.Lowered],
    made_from: Sequence[Any],
    arguments: Sequence[Any],
    options: Options | None = None,
    structure: Callable[[], Structure] | None = None,
) -> Callable[[], Callable[..., Any]]:
    """`compiled` without what XLA does, which the result does when it is called.

    That may happen in any thread whose JAX has the same `settings`.
    """
    name = key_of(made_from, arguments, options) if _may_keep() else None
    if name is not None and (known := folder.load(name)) is not None:
        program = _loaded(known.decode(errors="replace"), structure)
        if program is not None:
            return lambda: program
    lowered = lower()
    key, lapack = hlo_key(lowered, arguments, options)

    def finish() -> Callable[..., Any]:
        program = _loaded(key, structure)
        if program is None:
            program = lowered.compile(dict(options) if options else None)
            if key is not None:
                with suppress(Undescribed, RuntimeError, AttributeError):
                    folder.keep(key, to_bytes(program, lapack))
        if name is not None and key is not None:
            folder.keep(name, key.encode())
        return program

    return finish


def remembered(
    find: Callable[[], Any], made_from: Sequence[Any], arguments: Sequence[Any] = ()
) -> Any:
    """What tracing finds out about a program, as a value that JSON can hold.

    Args:
        find: finds it out.
        made_from, arguments: as for `compiled`.
    """
    key = key_of((*made_from, "remembered"), arguments)
    if key is not None and (content := folder.load(key)) is not None:
        with suppress(ValueError):
            return json.loads(content)
    found = find()
    if key is not None:
        folder.keep(key, json.dumps(found).encode())
    return found


def _loaded(
    key: str | None, structure: Callable[[], Structure] | None
) -> Callable[..., Any] | None:
    if key is not None and folder.NAME.fullmatch(key):
        if (content := folder.load(key)) is not None:
            with suppress(Exception):  # damaged or foreign: whatever XLA makes of it
                return from_bytes(content, structure)
    return None


def key_of(
    made_from: Sequence[Any], arguments: Sequence[Any], options: Options | None = None
) -> str | None:
    """The digest under which a program is named; None if it must be traced first.

    A program is named only in a process of the command line that executes no code of
    the user: elsewhere a function may have been replaced, or depend on anything.
    """
    if folder.current() is None or not only_own_code():
        return None
    try:
        values, modules = describe(made_from, arguments)
        return _digest(
            made_from=values,
            source=digest_of(modules),
            environment=_environment(),
            **_circumstances(arguments, options),
        )
    except (Undescribed, UserError):  # or a source file has changed since the import
        return None


def describe(
    made_from: Sequence[Any], arguments: Sequence[Any]
) -> tuple[list[Any], Mapping[str, Path]]:
    """A description of what a program is made from, and the modules with its code.

    Raises:
        Undescribed: something has no description; or Python may run other code than
            that of the source files.
    """
    description = Description()
    values = [description.of(value) for value in made_from]
    values.append(pytrees.described(jax.tree.structure(arguments), description))
    roots = frozenset(description.modules)
    modules = traced_modules(roots)
    if without := roots - modules.keys():
        raise Undescribed(f"{min(without)} without its source")
    for file in modules.values():
        if _is_newer_than_its_code(file):
            raise Undescribed(f"{file}, which was changed when it had been compiled")
    return values, modules


def _is_newer_than_its_code(file: Path) -> bool:
    """Whether a source file was changed after Python compiled the code that it uses.

    Python uses a compiled file that records the size of the source and its time in
    whole seconds, or that records no time. It ignores any other.
    """
    with suppress(OSError, struct.error):
        compiled = Path(cache_from_source(str(file)))
        source, written = file.stat(), compiled.stat().st_mtime_ns
        with compiled.open("rb") as stream:
            _, timeless, *recorded = struct.unpack("<4s3I", stream.read(16))
        now = [x % 2**32 for x in (int(source.st_mtime), source.st_size)]
        used = timeless or recorded == now
        return bool(used) and source.st_mtime_ns >= written
    return False


def hlo_key(
    lowered: jax.stages.Lowered, arguments: Sequence[Any], options: Options | None
) -> tuple[str | None, bool]:
    """The digest under which a program is kept, and whether it calls LAPACK.

    The digest is None if the program must not be kept: without a folder, where JAX may
    take it from a cache of its own (it then lacks its kernels), and if it calls
    something that exists in this process only.
    """
    if folder.current() is None or not _may_keep():
        return None, False
    try:
        hlo = lowered.as_text()
        lapack = check_portable(hlo)
        result = written_or_traced(jax.tree.structure(lowered.out_info))
        around = _circumstances(arguments, options)
        return _digest(hlo=hlo, result=result, **around), lapack
    except Undescribed:
        return None, False


def _may_keep() -> bool:
    """Whether JAX compiles here as its settings say, and checks no result.

    It does not where it takes programs from a cache of its own, where results are
    checked for NaN, and where XLA's flags are in a file or are not those that the
    process began with.
    """
    config: Any = jax.config
    asked = "compilation_cache_dir", "debug_nans", "debug_infs"
    if any(getattr(config, f"jax_{name}", None) for name in asked):
        return False
    flags = os.environ.get("XLA_FLAGS", "")
    return flags == _first_flags() and all(x[:2] == "--" for x in flags.split())


@cache
def _first_flags() -> str:
    """``XLA_FLAGS`` as they were when the process, or else this package, began."""
    with suppress(OSError):
        for entry in Path("/proc/self/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"XLA_FLAGS="):
                return os.fsdecode(entry.partition(b"=")[2])
        return ""
    return _FLAGS


_FLAGS = os.environ.get("XLA_FLAGS", "")


@cache
def _environment() -> list[list[Any]]:
    """Variables that libraries read, and stamps of the files of these libraries."""
    known = [[k, v] for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)]
    stamps = []
    for name in ("jax", "jaxlib", "flax", "optax"):
        (place,) = importlib.import_module(name).__path__
        for file in sorted(Path(place).rglob("*.py")):
            found = file.stat()
            stamps.append(f"{file} {found.st_size} {found.st_mtime_ns}")
    digest = hashlib.sha256("\n".join(stamps).encode()).hexdigest()
    return [*known, ["libraries", digest]]


def _digest(**record: Any) -> str:
    text = json.dumps(record, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _circumstances(arguments: Sequence[Any], options: Options | None) -> dict[str, Any]:
    return {
        "arguments": [_argument(x) for x in jax.tree.leaves(arguments)],
        "options": sorted((options or {}).items()),
        "settings": settings(),
        "machine": _machine(),
    }


def _argument(x: Any) -> list[Any]:
    kind = jnp.result_type(x)
    if jnp.issubdtype(kind, jax.dtypes.extended):
        raise Undescribed("a random key as an argument")
    place = getattr(x, "sharding", None)
    weak = bool(getattr(x, "weak_type", isinstance(x, int | float | complex)))
    where = None if place is None else sharding(place)
    return [list(jnp.shape(x)), str(kind), weak, where]


@cache
def _machine() -> dict[str, Any]:
    first = jax.local_devices()[0]
    return {
        "versions": versions(),
        "device": [first.platform, first.device_kind],
        "runtime": str(getattr(first.client, "platform_version", "")),
        "processor": processor(),
        "flags": _first_flags(),
    }
