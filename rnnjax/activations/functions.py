"""The pointwise activations, with slopes that are computed without cancellation."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike

from rnnjax.activations.base import enter, with_slope


def _sigmoid_slope_value(z: ArrayLike) -> Array:
    e = jnp.exp(-jnp.abs(z))
    return e / jnp.square(1.0 + e)


# |z| is not differentiable at 0 but the slope is: hence a rule instead of autodiff.
_sigmoid_slope = with_slope(
    _sigmoid_slope_value, lambda z: -_sigmoid_slope(z) * tanh(jnp.multiply(z, 0.5))
)


def _normal_density_value(z: ArrayLike) -> Array:
    z = jnp.asarray(z)
    # The relative error of exp(−z²/2) is the absolute error of z²/2, 4e-6 at z = 12 in
    # float32. The square of the upper half of the digits is exact; the rest enters
    # through expm1, because XLA would merge a product of two exp into the exp of a
    # rounded sum.
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

sigmoid = enter(
    "sigmoid",
    jax.nn.sigmoid,
    _sigmoid_slope,
    (0.0, 0.25),
    (0.0, 1.0),
    r"\frac{1}{1 + e^{-z}}",
)
tanh = enter(
    "tanh",
    jnp.tanh,
    lambda z: 4.0 * _sigmoid_slope(jnp.multiply(z, 2.0)),
    (0.0, 1.0),
    (-1.0, 1.0),
    r"\tanh z",
)
identity = enter(
    "identity",
    jnp.asarray,
    lambda z: jnp.full_like(z, 1.0),
    (1.0, 1.0),
    (-math.inf, math.inf),
    "z",
)
sin = enter("sin", jnp.sin, jnp.cos, (-1.0, 1.0), (-1.0, 1.0), r"\sin z")


def _step(z: ArrayLike, left: float, right: float) -> Array:
    """`right` where z > 0 and `left` elsewhere, in the dtype of z."""
    return jnp.where(jnp.greater(z, 0), jnp.full_like(z, right), left)


relu = enter(
    "relu",
    lambda z: jnp.maximum(z, 0.0),
    lambda z: _step(z, 0.0, 1.0),
    (0.0, 1.0),
    (0.0, math.inf),
    r"\max(z, 0)",
    pieces=True,
)
leaky_relu = enter(
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
    # The inner `where` prevents overflow in the unused branch and in its derivative.
    branch = left * jnp.exp(jnp.where(positive, jnp.zeros_like(z), z))
    return jnp.where(positive, right, branch)


elu = enter(
    "elu",
    jax.nn.elu,
    lambda z: _exponential_slope(z, 1.0, 1.0),
    (0.0, 1.0),
    (-1.0, math.inf),
    r"\max(z, 0) + e^{\min(z, 0)} - 1",
)
selu = enter(
    "selu",
    jax.nn.selu,
    lambda z: _exponential_slope(z, _SELU_LEFT, _SELU_SCALE),
    (0.0, _SELU_LEFT),
    (-_SELU_LEFT, math.inf),
    r"\lambda \max(z, 0) + \lambda\alpha (e^{\min(z, 0)} - 1)",
)
gelu = enter(
    "gelu",
    lambda z: jnp.multiply(z, _normal_cdf(z)),
    lambda z: _normal_cdf(z) + jnp.multiply(z, _normal_density(z)),
    (-0.12890414518515479, 1.1289041451851548),
    (-0.1699712074799037, math.inf),
    r"z\, \Phi(z)",
)
silu = enter(
    "silu",
    lambda z: jnp.multiply(z, sigmoid(z)),
    lambda z: sigmoid(z) * (1.0 + jnp.multiply(z, sigmoid(jnp.negative(z)))),
    (-0.09983932012886679, 1.0998393201288668),
    (-0.2784645427610738, math.inf),
    r"z\, \sigma(z)",
)
softplus = enter(
    "softplus",
    jax.nn.softplus,
    sigmoid,
    (0.0, 1.0),
    (0.0, math.inf),
    r"\ln(1 + e^z)",
)
softsign = enter(
    "softsign",
    jax.nn.soft_sign,
    lambda z: 1.0 / jnp.square(1.0 + jnp.abs(z)),
    (0.0, 1.0),
    (-1.0, 1.0),
    r"\frac{z}{1 + |z|}",
)
mish = enter(
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


hard_tanh = enter(
    "hard_tanh",
    lambda z: jnp.clip(z, -1.0, 1.0),
    lambda z: _inside(z, 1.0, 1.0),
    (0.0, 1.0),
    (-1.0, 1.0),
    r"\min(\max(z, -1), 1)",
    pieces=True,
)
hard_sigmoid = enter(
    "hard_sigmoid",
    lambda z: jnp.clip(jnp.add(z, 3.0) / 6.0, 0.0, 1.0),
    lambda z: _inside(z, 3.0, 1 / 6),
    (0.0, 1 / 6),
    (0.0, 1.0),
    r"\min(\max(z / 6 + 1/2, 0), 1)",
    pieces=True,
)
