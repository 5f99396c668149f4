"""The type of an activation: φ with its slope, found by name, recorded on demand.

Inside ``with recording() as seen:`` every call of an activation also records its
argument, so that a probe can measure the slopes and gates of any cell.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from rnnjax.registry import Registry


Pointwise = Callable[[ArrayLike], Array]


@dataclasses.dataclass(frozen=True)
class Activation:
    """A pointwise nonlinearity φ; call it like a function.

    Attributes:
        name: its name in `ACTIVATIONS`.
        function: φ, whose derivative in JAX is `slope`.
        slope: φ′, computed without cancellation; finite for every |z| up to 1e4, and
            NaN at NaN unless φ′ is constant.
        slope_bounds: infimum and supremum of φ′.
        range: infimum and supremum of φ.
        formula: φ(z) in LaTeX.

    >>> from rnnjax.activations import sigmoid, tanh
    >>> float(sigmoid(0.0)), float(sigmoid.slope(0.0)), sigmoid.slope_bounds
    (0.5, 0.25, (0.0, 0.25))
    >>> float(jax.grad(tanh)(12.0)) > 0
    True
    """

    name: str
    function: Pointwise
    slope: Pointwise
    slope_bounds: tuple[float, float]
    range: tuple[float, float]
    formula: str

    def __call__(
        self, z: ArrayLike, name: str | tuple[str, ...] | None = None
    ) -> Array:
        """φ(z), with the shape and dtype of `z`.

        `name` is the role of the call in its equation (``"forget"``) and only used by
        `recording`; several names split the last axis into equal parts.
        """
        seen = _SEEN.get()
        if seen is not None:
            names: tuple[str | None, ...] = name if isinstance(name, tuple) else (name,)
            parts = [jnp.asarray(z)]
            if len(names) > 1:
                parts = jnp.split(parts[0], len(names), axis=-1)
            for each, part in zip(names, parts, strict=True):
                seen.append(Recorded(self, _site(self, each, seen), part))
        return self.function(z)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """One call of an activation: φ, the name of the call and its argument ``(…, n)``.

    Names are unique within a recording: the second use of a name is ``name#1``. Calls
    without a name are named after the activation, ``tanh#0``, ``tanh#1``.
    """

    activation: Activation
    name: str
    z: Array


_SEEN: contextvars.ContextVar[list[Recorded] | None] = contextvars.ContextVar(
    "seen", default=None
)


@contextlib.contextmanager
def recording() -> Iterator[list[Recorded]]:
    """Record every call of an activation in this thread, in the order of the calls.

    Works while JAX is tracing: the records then hold tracers, which have to be returned
    from the traced function. Values are not changed, and there is no cost outside of
    the context.

    >>> from rnnjax.activations import sigmoid, tanh
    >>> with recording() as seen:
    ...     _ = sigmoid(2.0, "forget") * tanh(3.0)
    >>> [(one.name, float(one.z)) for one in seen]
    [('forget', 2.0), ('tanh#0', 3.0)]
    """
    seen: list[Recorded] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def _site(phi: Activation, name: str | None, seen: list[Recorded]) -> str:
    known = {one.name for one in seen}
    candidates = [] if name is None else [name]
    start = len(candidates)
    candidates += [f"{name or phi.name}#{k}" for k in range(start, len(known) + 2)]
    return next(each for each in candidates if each not in known)


ACTIVATIONS: Registry[Activation] = Registry("activation")


def activation(name: str) -> Activation:
    """The activation with this name.

    Raises:
        UserError: there is none; the message suggests similar names.

    >>> import rnnjax.activations
    >>> activation("sigmoyd")
    Traceback (most recent call last):
    rnnjax.errors.UserError: unknown activation 'sigmoyd'; did you mean sigmoid or ...?
    """
    return ACTIVATIONS[name]


def with_slope(value: Pointwise, slope: Pointwise) -> Pointwise:
    """The function `value`, with `slope` as its derivative in JAX.

    Activations that are called inside `value` and `slope` are not recorded: these calls
    do not belong to the equations of a cell, and JAX may trace them at any time.
    """

    def unseen(function: Pointwise, z: ArrayLike) -> Array:
        token = _SEEN.set(None)
        try:
            return function(z)
        finally:
            _SEEN.reset(token)

    function = jax.custom_jvp(lambda z: unseen(value, z))
    function.defjvps(lambda dz, _, z: unseen(slope, z) * dz)
    return function


def enter(
    name: str,
    value: Pointwise,
    slope: Pointwise,
    slope_bounds: tuple[float, float],
    range: tuple[float, float],
    formula: str,
    pieces: bool = False,
) -> Activation:
    """Register φ; `pieces`: the slope is piecewise and needs NaN handled explicitly."""
    function = with_slope(value, slope)
    if pieces:
        chosen = slope
        slope = lambda z: jnp.where(jnp.isnan(z), jnp.nan, chosen(z))
    return ACTIVATIONS.register(name)(
        Activation(name, function, slope, slope_bounds, range, formula)
    )
