"""Activation functions, each with its slope φ′ and the bounds of φ′.

A gradient that crosses 100 time steps is a product of 100 slopes, so a slope must keep
its relative accuracy where it is small: 1 − tanh² is exactly 0 in float32 at z = 12,
where the slope is 1.5e-10. Every slope here is computed without cancellation, and
`jax.custom_jvp` makes it the derivative that JAX uses, in forward and reverse mode.
The slopes are written in functions that have such derivatives themselves: second and
higher derivatives are exact in the same sense.

At a kink the slope is that of the left piece (ReLU: 0 at z = 0, leaky ReLU: 0.01), and
0 at both corners of the hard functions. The derivative that JAX uses takes the left
piece at NaN too, as `jax.nn.relu` does; `Activation.slope` is NaN there.

Inside ``with recording() as seen:`` every call of an activation also notes what entered
it, so that a probe can look at the slopes and gates of any cell.
"""

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Inexact

from rnnjax.registry import Registry


Pointwise = Callable[[ArrayLike], Array]


@dataclasses.dataclass(frozen=True)
class Activation:
    """A pointwise non-linearity φ; call it like a function.

    Attributes:
        name: its name in `ACTIVATIONS`.
        function: φ, differentiated by JAX as `slope`.
        slope: φ′, without cancellation; finite for every |z| up to 1e4, NaN at NaN
            unless φ′ is constant.
        slope_bounds: infimum and supremum of φ′.
        range: infimum and supremum of φ.
        formula: φ(z) in LaTeX.

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
        """φ(z), of the shape and dtype of `z`.

        `name` says what the call stands for in its equation (``"forget"``), for
        `recording` alone; with several names each has an equal part of the last axis.
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
    """One call of an activation: φ, the name of the call and what entered, ``(…, n)``.

    Names are unique within a recording: the second use of one is ``name#1``. A call
    without a name goes by its activation, ``tanh#0``, ``tanh#1``.
    """

    activation: Activation
    name: str
    z: Array


_SEEN: contextvars.ContextVar[list[Recorded] | None] = contextvars.ContextVar(
    "seen", default=None
)


@contextlib.contextmanager
def recording() -> Iterator[list[Recorded]]:
    """Note every call of an activation in this thread, in the order of the calls.

    Works while JAX traces: the notes then hold tracers, to be returned from the
    function that is traced. Costs nothing outside, and leaves values as they are.

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
    """The activation of this name.

    Raises:
        UserError: no such name; the message holds the nearest ones.

    >>> activation("sigmoyd")
    Traceback (most recent call last):
    rnnjax.errors.UserError: unknown activation 'sigmoyd'; did you mean sigmoid or ...?
    """
    return ACTIVATIONS[name]


def with_slope(value: Pointwise, slope: Pointwise) -> Pointwise:
    """The function `value` whose derivative, for JAX, is `slope`.

    Activations that the two are made of are not recorded: their calls are no part of a
    cell's equations, and JAX may trace them at any time.
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


def _enter(
    name: str,
    value: Pointwise,
    slope: Pointwise,
    slope_bounds: tuple[float, float],
    range: tuple[float, float],
    formula: str,
    pieces: bool = False,
) -> Activation:
    """Register φ; `pieces`: comparisons choose its slope, and NaN fails all of them."""
    function = with_slope(value, slope)
    if pieces:
        chosen = slope
        slope = lambda z: jnp.where(jnp.isnan(z), jnp.nan, chosen(z))
    return ACTIVATIONS.register(name)(
        Activation(name, function, slope, slope_bounds, range, formula)
    )


def _sigmoid_slope_value(z: ArrayLike) -> Array:
    e = jnp.exp(-jnp.abs(z))
    return e / jnp.square(1.0 + e)


# |z| has no derivative at 0, the slope has: hence a rule and not autodiff.
_sigmoid_slope = with_slope(
    _sigmoid_slope_value, lambda z: -_sigmoid_slope(z) * tanh(jnp.multiply(z, 0.5))
)


def _normal_density_value(z: ArrayLike) -> Array:
    z = jnp.asarray(z)
    # exp(−z²/2) inherits the absolute error of z², 4e-6 at z = 12 in float32. The
    # upper half of the digits has an exact square; the rest enters through expm1,
    # because XLA would join a product of two exp into the exp of a rounded sum.
    info = jnp.finfo(z.dtype)
    underflown = 2.0 * math.sqrt(-math.log(info.tiny))
    z = jnp.clip(z, -underflown, underflown)
    upper = lax.reduce_precision(z, info.nexp, info.nmant // 2)
    rest = -0.5 * (z - upper) * (z + upper)
    density = jnp.exp(-0.5 * upper * upper) / math.sqrt(2 * math.pi)
    return density + density * jnp.expm1(rest)


_normal_density = with_slope(
    _normal_density_value, lambda z: -jnp.asarray(z) * _normal_density(z)
)
_normal_cdf = with_slope(
    lambda z: 0.5 * lax.erfc(-jnp.asarray(z) * math.sqrt(0.5)), _normal_density
)

sigmoid = _enter(
    "sigmoid",
    jax.nn.sigmoid,
    _sigmoid_slope,
    (0.0, 0.25),
    (0.0, 1.0),
    r"\frac{1}{1 + e^{-z}}",
)
tanh = _enter(
    "tanh",
    jnp.tanh,
    lambda z: 4.0 * _sigmoid_slope(jnp.multiply(z, 2.0)),
    (0.0, 1.0),
    (-1.0, 1.0),
    r"\tanh z",
)
identity = _enter(
    "identity",
    jnp.asarray,
    lambda z: jnp.full_like(z, 1.0),
    (1.0, 1.0),
    (-math.inf, math.inf),
    "z",
)
sin = _enter("sin", jnp.sin, jnp.cos, (-1.0, 1.0), (-1.0, 1.0), r"\sin z")


def _step(z: ArrayLike, left: float, right: float) -> Array:
    """`right` where z > 0 and `left` elsewhere, in the dtype of z."""
    return jnp.where(jnp.greater(z, 0), jnp.full_like(z, right), left)


relu = _enter(
    "relu",
    lambda z: jnp.maximum(z, 0.0),
    lambda z: _step(z, 0.0, 1.0),
    (0.0, 1.0),
    (0.0, math.inf),
    r"\max(z, 0)",
    pieces=True,
)
leaky_relu = _enter(
    "leaky_relu",
    lambda z: jnp.multiply(z, _step(z, 0.01, 1.0)),
    lambda z: _step(z, 0.01, 1.0),
    (0.01, 1.0),
    (-math.inf, math.inf),
    r"\max(z, 0.01\, z)",
    pieces=True,
)

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772
_SELU_LEFT = _SELU_SCALE * _SELU_ALPHA


def _exponential_slope(z: ArrayLike, left: float, right: float) -> Array:
    """`right` where z > 0, left · eᶻ elsewhere."""
    positive = jnp.greater(z, 0)
    # The inner `where` keeps the unused branch, and its derivative, from overflowing.
    branch = left * jnp.exp(jnp.where(positive, jnp.zeros_like(z), z))
    return jnp.where(positive, right, branch)


elu = _enter(
    "elu",
    jax.nn.elu,
    lambda z: _exponential_slope(z, 1.0, 1.0),
    (0.0, 1.0),
    (-1.0, math.inf),
    r"\max(z, 0) + e^{\min(z, 0)} - 1",
)
selu = _enter(
    "selu",
    jax.nn.selu,
    lambda z: _exponential_slope(z, _SELU_LEFT, _SELU_SCALE),
    (0.0, _SELU_LEFT),
    (-_SELU_LEFT, math.inf),
    r"\lambda \max(z, 0) + \lambda\alpha (e^{\min(z, 0)} - 1)",
)
gelu = _enter(
    "gelu",
    lambda z: jnp.multiply(z, _normal_cdf(z)),
    lambda z: _normal_cdf(z) + jnp.multiply(z, _normal_density(z)),
    (-0.12890414518515479, 1.1289041451851548),
    (-0.1699712074799037, math.inf),
    r"z\, \Phi(z)",
)
silu = _enter(
    "silu",
    lambda z: jnp.multiply(z, sigmoid(z)),
    lambda z: sigmoid(z) * (1.0 + jnp.multiply(z, sigmoid(jnp.negative(z)))),
    (-0.09983932012886679, 1.0998393201288668),
    (-0.2784645427610738, math.inf),
    r"z\, \sigma(z)",
)
softplus = _enter(
    "softplus",
    jax.nn.softplus,
    sigmoid,
    (0.0, 1.0),
    (0.0, math.inf),
    r"\ln(1 + e^z)",
)
softsign = _enter(
    "softsign",
    jax.nn.soft_sign,
    lambda z: 1.0 / jnp.square(1.0 + jnp.abs(z)),
    (0.0, 1.0),
    (-1.0, 1.0),
    r"\frac{z}{1 + |z|}",
)
mish = _enter(
    "mish",
    lambda z: jnp.multiply(z, tanh(softplus(z))),
    lambda z: tanh(softplus(z)) + jnp.multiply(z, tanh.slope(softplus(z)) * sigmoid(z)),
    (-0.11252612238946256, 1.0884981612216479),
    (-0.3088434130172504, math.inf),
    r"z \tanh(\ln(1 + e^z))",
)


def _inside(z: ArrayLike, limit: float, slope: float) -> Array:
    """`slope` where |z| < limit and 0 elsewhere, in the dtype of z."""
    return jnp.where(jnp.abs(z) < limit, jnp.full_like(z, slope), 0.0)


hard_tanh = _enter(
    "hard_tanh",
    lambda z: jnp.clip(z, -1.0, 1.0),
    lambda z: _inside(z, 1.0, 1.0),
    (0.0, 1.0),
    (-1.0, 1.0),
    r"\min(\max(z, -1), 1)",
    pieces=True,
)
hard_sigmoid = _enter(
    "hard_sigmoid",
    lambda z: jnp.clip(jnp.add(z, 3.0) / 6.0, 0.0, 1.0),
    lambda z: _inside(z, 3.0, 1 / 6),
    (0.0, 1 / 6),
    (0.0, 1.0),
    r"\min(\max(z / 6 + 1/2, 0), 1)",
    pieces=True,
)


def modrelu(z: Inexact[Array, "..."], b: Float[Array, "..."]) -> Inexact[Array, "..."]:
    """ReLU(|z| + b) · z / |z|: the modulus is shifted and cut, the phase stays.

    Value and gradients are 0 at z = 0. A complex z whose |z|² underflows (a modulus
    below about 1e-19 in float32) counts as 0 too; where |z|² overflows, b is nothing
    beside it and z comes back. Recorded as the ReLU of |z| + b.

    Args:
        z: real or complex, ``(…, n)``.
        b: real, of a shape that broadcasts to that of `z`, usually ``(n,)``.

    Source: Arjovsky, Shah, Bengio 2016, Unitary Evolution Recurrent Neural Networks.

    >>> print(modrelu(jnp.array([3 + 4j, 0.3 + 0.4j]), jnp.array(-1.0)))
    [2.4+3.2j 0. +0.j ]
    """
    b = jnp.broadcast_to(b, z.shape)
    if not jnp.iscomplexobj(z):
        return jnp.sign(z) * relu(jnp.abs(z) + b, "modulus")
    # from the square: the complex modulus of XLA takes several times as long
    square = jnp.square(z.real) + jnp.square(z.imag)
    usual = (square > jnp.finfo(z.dtype).tiny) & (square < jnp.inf)
    # The root has no derivative at 0, and 0 · nan is nan: replaced before and after.
    modulus = jnp.sqrt(jnp.where(usual, square, 1.0))
    scale = relu(modulus + b, "modulus") * (1.0 / modulus)
    scale = jnp.where(usual, scale, (square > 1.0).astype(square.dtype))
    return lax.complex(z.real * scale, z.imag * scale)
