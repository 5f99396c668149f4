"""The functions of a signature, compiled for a mesh."""

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import jax
from jax.sharding import Mesh

from rnnjax.errors import UserError
from rnnjax.executables.description import Undescribed
from rnnjax.executables.identity import Held
from rnnjax.executables.lookup import describe, found_or_lowered
from rnnjax.executables.settings import settings
from rnnjax.tasks.base import Data
from rnnjax.training.pack import How, Pack, how_for, over_runs
from rnnjax.training.program import Program, Signature
from rnnjax.training.shards import SHARDS
from rnnjax.types import Batch
from rnnjax.xla_options import OFTEN, ONCE, SOMETIMES


OPTIONS = {
    "chunk": OFTEN,
    "evaluate": SOMETIMES,
    "probe": ONCE,
}
"""XLA's options on a CPU, by function."""

Wanted = tuple[str, Any, Any]
"""The name of a function, stacked runs, and the arrays that they share."""


@dataclasses.dataclass
class Compiled:
    """Chunk, evaluation and probe of one signature over the slots of a mesh.

    Functions are compiled ahead of time at their first use; `seconds` is the total
    compile time. If `how` is None, the mapping that suits the devices is used.
    """

    signature: Signature
    mesh: Mesh
    capacity: int
    how: How | None = None
    seconds: float = 0.0
    _ready: dict[str, Any] = dataclasses.field(default_factory=dict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def program(self) -> Program:
        """The pure functions to compile."""
        return Program(self.signature, spread=SHARDS in self.mesh.axis_names)

    @property
    def mapped(self) -> How:
        """How the runs on a device are mapped."""
        return how_for(self.mesh, self.how)

    @property
    def _on_cpu(self) -> bool:
        return self.mesh.devices.flat[0].platform == "cpu"

    def chunk(self, pack: Pack, runs: Any, data: Data) -> Any:
        """Map stacked (state, hyper, until) to stacked states."""
        return self._run("chunk", pack, runs, data)

    def evaluate(self, pack: Pack, runs: Any, batch: Batch) -> Any:
        """Map stacked (params, hyper) to stacked (loss, metric, metric per example)."""
        return self._run("evaluate", pack, runs, batch)

    def probe(self, pack: Pack, runs: Any, batch: Batch) -> Any:
        """Map stacked (params, hyper) to stacked measurements."""
        return self._run("probe", pack, runs, batch)

    def _run(self, name: str, pack: Pack, runs: Any, shared: Any) -> Any:
        ready = self.prepare(name, pack, runs, shared)
        return ready(pack.counts, runs, shared)

    def memory(self) -> int:
        """Bytes that the largest function needs on one device, as reported by XLA."""
        found = (ready.memory_analysis() for ready in self._ready.values())
        sizes = [
            one.argument_size_in_bytes
            + one.output_size_in_bytes
            + one.temp_size_in_bytes
            + one.generated_code_size_in_bytes
            for one in found
        ]
        return max(sizes, default=0)

    def prepare(self, name: str, pack: Pack, runs: Any, shared: Any) -> Any:
        """The compiled function `name` for these shapes; compiles it if necessary."""
        (ready,) = self.prepare_all(pack, [(name, runs, shared)])
        return ready

    def prepare_all(self, pack: Pack, wanted: Sequence[Wanted]) -> list[Any]:
        """Several compiled functions, each given by its name, runs and shared arrays.

        They are traced in this thread, where JAX's settings are those of the caller;
        XLA compiles one while the next is traced.
        """
        keys = [
            f"{name}:{jax.tree.structure(shared)}:{_shapes(shared)}"
            for name, _, shared in wanted
        ]
        with self._lock:
            pairs = zip(keys, wanted, strict=True)
            missing = {key: one for key, one in pairs if key not in self._ready}
            if missing:
                began = time.perf_counter()
                self._ready.update(self._compiled(pack, missing))
                self.seconds += time.perf_counter() - began
        return [self._ready[key] for key in keys]

    def _compiled(self, pack: Pack, missing: Mapping[str, Wanted]) -> dict[str, Any]:
        begun: dict[str, Callable[[], Any]] = {}
        with ThreadPoolExecutor(len(missing)) as threads:
            elsewhere = (
                len(missing) > 1 and threads.submit(settings).result() == settings()
            )
            for key, (name, runs, shared) in missing.items():
                finish = self._found_or_lowered(name, (pack.counts, runs, shared))
                begun[key] = threads.submit(finish).result if elsewhere else finish
            return {key: result() for key, result in begun.items()}

    def _found_or_lowered(self, name: str, arguments: Any) -> Callable[[], Any]:
        return found_or_lowered(
            lambda: self._lowered(name, arguments),
            (_spread, over_runs, self.program, name, self.mapped, self.mesh),
            arguments,
            OPTIONS[name] if self._on_cpu else None,
        )

    def _lowered(self, name: str, arguments: Any) -> jax.stages.Lowered:
        lowered = self._lower(name, self.mapped, arguments)
        if self._on_cpu and self.mapped == "vmap" and _decomposes(lowered):
            lowered = self._lower(name, "loop", arguments)
        return lowered

    def _lower(self, name: str, how: How, arguments: Any) -> jax.stages.Lowered:
        spread = partial(_spread, getattr(self.program, name))
        mapped = over_runs(spread, self.mesh, how)
        return jax.jit(mapped, keep_unused=True).lower(*arguments)


def programs_for(
    signature: Signature, mesh: Mesh, capacity: int, how: How | None = None
) -> Compiled:
    """A new `Compiled` with the programs that this process already has for it.

    Code of the user, which may depend on anything, is traced again; so is our own where
    a function, class, method or registered activation has been replaced.
    """
    with suppress(Undescribed, UserError):
        _, modules = describe((_spread, over_runs, Program(signature)), ())
        known = _known(signature, mesh, capacity, how, settings(), Held(modules))
        return dataclasses.replace(known, seconds=0.0)
    return Compiled(signature, mesh, capacity, how)


@lru_cache(maxsize=16)
def _known(
    signature: Signature,
    mesh: Mesh,
    capacity: int,
    how: How | None,
    settings: tuple[str, ...],
    held: Held,
) -> Compiled:
    return Compiled(signature, mesh, capacity, how)


def forget_programs() -> None:
    """Clear what `programs_for` remembers."""
    _known.cache_clear()


def _decomposes(lowered: jax.stages.Lowered) -> bool:
    """Whether LAPACK is called; if it is batched, CPU devices may block each other."""
    return "lapack" in lowered.as_text()


def _spread(function: Any, run: tuple[Any, ...], shared: Any) -> Any:
    return function(*run, shared)


def _shapes(tree: Any) -> tuple[Any, ...]:
    return tuple((x.shape, str(x.dtype)) for x in jax.tree.leaves(tree))
