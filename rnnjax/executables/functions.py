"""Functions that are compiled like those of `jax.jit`, and kept."""

import functools
import inspect
import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from rnnjax.executables import folder
from rnnjax.executables.lookup import compiled
from rnnjax.executables.settings import settings
from rnnjax.xla_options import ONCE, Options


PROGRAMS = 32
"""Number of programs of one function that stay loaded, those used last."""

COUNTED_EVERY = 16
"""Number of new programs after which mappings are counted, which takes milliseconds."""

_NEW = itertools.count(1)

_FUNCTIONS: "weakref.WeakSet[KeptFunction]" = weakref.WeakSet()


def crowded() -> bool:
    """Whether the process has half of the mappings of memory that Linux allows it.

    A program takes from fifty mappings to two thousand, and a process that has 65 530
    of them can load no other.
    """
    try:
        allowed = int(Path("/proc/sys/vm/max_map_count").read_text())
        with open("/proc/self/maps", "rb") as lines:
            return sum(1 for _ in lines) > allowed / 2
    except (OSError, ValueError):  # another system
        return False


class KeptFunction:
    """A function whose compiled programs outlive the process; see `kept_jit`."""

    __name__: str

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnames: Sequence[str] = (),
        options: Options | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.options = function, options
        self.static = frozenset(static_argnames)
        self.signature = inspect.signature(function)
        self._jitted = jax.jit(
            function,
            static_argnames=tuple(static_argnames),
            compiler_options=dict(options) if options else None,
        )
        self._ready: OrderedDict[Any, Callable[..., Any]] = OrderedDict()
        self._lock = threading.Lock()
        _FUNCTIONS.add(self)
        self._locks: dict[Any, threading.Lock] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bound = self.signature.bind(*args, **kwargs)
        static = {k: v for k, v in bound.arguments.items() if k in self.static}
        rest = {k: v for k, v in bound.arguments.items() if k not in self.static}
        leaves, structure = jax.tree.flatten(rest)
        if folder.current() is None or any(isinstance(x, Tracer) for x in leaves):
            return self._jitted(*args, **kwargs)
        shapes = tuple(_shape(x) for x in leaves)
        known = tuple(static.items()), structure, shapes, settings()
        with self._lock:
            lock = self._locks.setdefault(known, threading.Lock())
        with lock:
            ready = self._ready.get(known)
            if ready is None:
                ready = self._compiled(static, rest)
                if next(_NEW) % COUNTED_EVERY == 0 and crowded():
                    for one in list(_FUNCTIONS):
                        one.unload(but=0)
                self.unload(but=PROGRAMS - 1)
            with self._lock:
                self._ready[known] = ready
                self._ready.move_to_end(known)
        return ready(rest)

    def unload(self, but: int) -> None:
        """Let go of all programs but those used last, so many of them."""
        with self._lock:
            while len(self._ready) > but:
                oldest, _ = self._ready.popitem(last=False)
                self._locks.pop(oldest, None)

    def _compiled(self, static: dict[str, Any], rest: Any) -> Callable[..., Any]:

        def run(rest: dict[str, Any]) -> Any:
            return self.function(**static, **rest)

        run.__name__ = self.__name__  # for profiles

        return compiled(
            lambda: jax.jit(run, keep_unused=True).lower(rest),
            (self.function, static),
            (rest,),
            self.options,
            lambda: jax.tree.structure(jax.eval_shape(run, rest)),
        )


def kept_jit(
    function: Callable[..., Any] | None = None,
    *,
    static_argnames: Sequence[str] = (),
    options: Options | None = None,
) -> Any:
    """Compile a function as `jax.jit` does, and keep its programs on disk.

    Everything that decides what is traced must be an argument: the function may use no
    variable of a function around it.

    Args:
        function: a function of a module; None: for use as a decorator.
        static_argnames: names of arguments that are part of the program.
        options: XLA's options.
    """
    if function is None:
        return functools.partial(
            kept_jit, static_argnames=static_argnames, options=options
        )
    return KeptFunction(function, static_argnames, options)


jit_unoptimised = functools.partial(kept_jit, options=ONCE)
"""`kept_jit` for a program that runs a few times, so that compiling is its cost."""


def begun(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a compiled function in another thread, which compiles beside the caller.

    Where JAX has settings of its own in the thread of the caller, it is called there,
    when the result is asked for.

    Returns:
        a function without arguments that returns the result, or raises.
    """
    here = functools.partial(function, *args, **kwargs)
    asked = settings()

    def there() -> tuple[bool, Any]:
        same = settings() == asked
        return same, here() if same else None

    running = _BESIDE.submit(there)

    def result() -> Any:
        done, found = running.result()
        return found if done else here()

    return result


_BESIDE = ThreadPoolExecutor(1)


def _shape(x: Any) -> Any:
    weak = getattr(x, "weak_type", isinstance(x, int | float | complex))
    return jnp.shape(x), str(jnp.result_type(x)), weak, getattr(x, "sharding", None)
