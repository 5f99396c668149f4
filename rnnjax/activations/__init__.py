"""Activation functions, each with its slope φ′ and the bounds of φ′.

A gradient over 100 time steps contains a product of 100 slopes, so a slope must keep
its relative accuracy even where it is small: 1 − tanh² is exactly 0 in float32 at
z = 12, where the slope is 1.5e-10. Every slope here is computed without cancellation,
and `jax.custom_jvp` makes it the derivative that JAX uses, in forward and reverse mode.
The slopes are composed of functions that have such derivatives themselves, so second
and higher derivatives are accurate in the same sense.

At a kink, the slope of the left piece is used (ReLU: 0 at z = 0, leaky ReLU: 0.01), and
0 at both corners of the hard functions. For NaN the derivative that JAX uses is also
that of the left piece, as in `jax.nn.relu`; `Activation.slope` is NaN there.
"""

from rnnjax.activations.base import (
    ACTIVATIONS,
    Activation,
    Recorded,
    activation,
    recording,
    with_slope,
)
from rnnjax.activations.functions import (
    elu,
    gelu,
    hard_sigmoid,
    hard_tanh,
    identity,
    leaky_relu,
    mish,
    relu,
    selu,
    sigmoid,
    silu,
    sin,
    softplus,
    softsign,
    tanh,
)
from rnnjax.activations.modrelu import modrelu


__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Recorded",
    "activation",
    "elu",
    "gelu",
    "hard_sigmoid",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "mish",
    "modrelu",
    "recording",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "sin",
    "softplus",
    "softsign",
    "tanh",
    "with_slope",
]
