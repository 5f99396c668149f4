"""Initial values of kernels and biases, gate by gate.

An initialiser is a function of a random key, a shape and a dtype. It is made by a
factory from numbers (a gain, a spectral radius) that may be traced arrays, so that runs
which differ only in these numbers share one compilation. A kernel is stored as
``(in, out)`` and applied as ``v @ kernel``; the kernels of all gates of a cell are
concatenated, ``(in, gates·n)``, and so are the biases, ``(gates·n,)``. Two calls with
the same key give bitwise identical results.
"""

import dataclasses
import inspect
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers as standard
from jaxtyping import Array, DTypeLike, PRNGKeyArray

from rnnjax.errors import UserError, unknown
from rnnjax.registry import Registry
from rnnjax.types import wide_type


Number = float | Array
Shape = Sequence[int]


@runtime_checkable
class Initializer(Protocol):
    """Draws an array of `shape` and `dtype` from `key`."""

    def __call__(
        self, key: PRNGKeyArray, shape: Shape, dtype: DTypeLike = jnp.float32, /
    ) -> Array: ...


INITIALIZERS: Registry[Callable[..., Initializer]] = Registry("initializer")


def make_initializer(name: str, **arguments: Any) -> Initializer:
    """The initialiser with this name and these arguments.

    Raises:
        UserError: an unknown name or argument (the message suggests similar ones), or
            an argument that is missing or not a number.

    >>> make_initializer("orthogonal", gian=2.0)
    Traceback (most recent call last):
    rnnjax.errors.UserError: unknown argument of orthogonal 'gian'; did you mean gain?
    """
    factory = INITIALIZERS[name]
    parameters = inspect.signature(factory).parameters
    for key, value in arguments.items():
        if key not in parameters:
            raise unknown(f"argument of {name}", key, parameters)
        if not isinstance(value, numbers.Real | np.ndarray | jax.Array):
            raise UserError(
                f"{key} of initializer {name} must be a number, got {value!r}"
            )
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise UserError(f"initializer {name} needs the argument {key}")
    return factory(**arguments)


def _scaled(base: Initializer, factor: Number, name: str) -> Initializer:
    """`base` times `factor`, for matrices ``(in, out)`` only."""

    def init(
        key: PRNGKeyArray, shape: Shape, dtype: DTypeLike = jnp.float32, /
    ) -> Array:
        # More axes would be treated as a convolution, or merged into one matrix.
        if len(shape) != 2:
            raise UserError(
                f"initializer {name} is for matrices, but the shape is {shape}"
            )
        # there are no decompositions in 16 bits
        wide = wide_type(dtype)
        return (jnp.asarray(factor, wide) * base(key, shape, wide)).astype(dtype)

    return init


@INITIALIZERS.register("orthogonal")
def orthogonal(gain: Number = 1.0) -> Initializer:
    """A random orthogonal matrix times `gain` (Saxe et al. 2014), Haar distributed.

    All singular values are `gain`. If the matrix is not square, the vectors along its
    shorter side are orthonormal. For several gates see `per_gate`.
    """
    return _scaled(standard.orthogonal(), gain, "orthogonal")


@INITIALIZERS.register("identity")
def identity(gain: Number = 1.0) -> Initializer:
    """`gain` on the main diagonal, 0 elsewhere (Le, Jaitly, Hinton 2015: IRNN)."""
    eye = lambda key, shape, dtype=jnp.float32: jnp.eye(*shape, dtype=dtype)
    return _scaled(eye, gain, "identity")


@INITIALIZERS.register("glorot_uniform")
def glorot_uniform(gain: Number = 1.0) -> Initializer:
    """U(−a, a), a = gain · √(6 / (in + out)) (Glorot, Bengio 2010, eq. 16)."""
    return _scaled(standard.glorot_uniform(), gain, "glorot_uniform")


@INITIALIZERS.register("glorot_normal")
def glorot_normal(gain: Number = 1.0) -> Initializer:
    """Variance gain² · 2 / (in + out), normal truncated at 2 standard deviations."""
    return _scaled(standard.glorot_normal(), gain, "glorot_normal")


@INITIALIZERS.register("lecun_normal")
def lecun_normal(gain: Number = 1.0) -> Initializer:
    """Variance gain² / in, normal truncated at 2 standard deviations.

    LeCun et al. (1998).

    The spectral radius of a large square matrix tends to `gain`.
    """
    return _scaled(standard.lecun_normal(), gain, "lecun_normal")


@INITIALIZERS.register("normal")
def normal(std: Number) -> Initializer:
    """N(0, std²), for any shape."""
    return lambda key, shape, dtype=jnp.float32: (
        jnp.asarray(std, dtype) * jax.random.normal(key, shape, dtype)
    )


@INITIALIZERS.register("uniform")
def uniform(bound: Number) -> Initializer:
    """U(−bound, bound), for any shape."""
    return lambda key, shape, dtype=jnp.float32: (
        jnp.asarray(bound, dtype) * jax.random.uniform(key, shape, dtype, -1.0, 1.0)
    )


@INITIALIZERS.register("constant")
def constant(value: Number) -> Initializer:
    """`value` everywhere, for any shape."""
    return lambda key, shape, dtype=jnp.float32: jnp.full(shape, value, dtype)


@INITIALIZERS.register("zeros")
def zeros() -> Initializer:
    """0 everywhere, for any shape."""
    return constant(0.0)


@INITIALIZERS.register("sparse")
def sparse(nonzeros: int = 15, spectral_radius: Number = 0.95) -> Initializer:
    """A few recurrent weights into each unit, scaled to a given spectral radius.

    Each unit (column) gets `nonzeros` weights N(0, 1) from units drawn without
    replacement, or from all units if there are fewer (Martens 2010; Sutskever et al.
    2013; "smart" in Pascanu et al. 2013). The eigenvalues are computed by LAPACK, hence
    only for square kernels and on the CPU.
    """
    if isinstance(nonzeros, int) and nonzeros < 1:
        raise UserError(
            f"nonzeros of initializer sparse must be positive, got {nonzeros}"
        )

    def base(key: PRNGKeyArray, shape: Shape, dtype: DTypeLike = jnp.float32) -> Array:
        if shape[0] != shape[1]:
            raise UserError(
                f"initializer sparse is for square kernels, but the shape is {shape}"
            )
        places, weights = jax.random.split(key)
        rows = jnp.broadcast_to(jnp.arange(shape[0])[:, None], shape)
        rank = jax.random.permutation(places, rows, axis=0, independent=True)
        kernel = jax.random.normal(weights, shape, dtype)
        kernel = jnp.where(rank < nonzeros, kernel, 0.0)
        return kernel / jnp.max(jnp.abs(jnp.linalg.eigvals(kernel)))

    return _scaled(base, spectral_radius, "sparse")


@INITIALIZERS.register("chrono")
def chrono(t_max: Number) -> Initializer:
    """Biases log U(1, t_max − 1): memories of 2 to `t_max` steps.

    A gate σ(b) that keeps the state forgets in about 1 + eᵇ steps. For an LSTM, the
    forget gate has b_f = chrono and the input gate b_i = −b_f, see `NegativeOf`. For a
    GRU, use chrono if the gate keeps the old state, or its negative if the gate admits
    the candidate. `t_max` must be at least 2, for which all biases are 0, and is
    meaningful from 3 on.

    Source: Tallec, Ollivier 2018, Can recurrent neural networks warp time?
    """
    if isinstance(t_max, numbers.Real) and t_max < 2:
        raise UserError(f"t_max of initializer chrono must be at least 2, got {t_max}")

    def init(
        key: PRNGKeyArray, shape: Shape, dtype: DTypeLike = jnp.float32, /
    ) -> Array:
        spread = jnp.asarray(t_max, dtype) - 2.0
        return jnp.log1p(spread * jax.random.uniform(key, shape, dtype))

    return init


def per_gate(init: Initializer | Sequence[Initializer], gates: int) -> Initializer:
    """A kernel ``(in, gates · n)`` whose blocks ``(in, n)`` are drawn separately.

    If an orthogonal kernel of 4 gates were drawn as a whole, each gate would start with
    singular values between 0 and about 0.85 instead of 1. The resulting decay of
    gradients would be mistaken for a property of the cell.

    Args:
        init: one initialiser for all gates, or one for each.
        gates: number of gates; 1 also gives a different draw from `init` itself.

    Raises:
        ValueError: the number of initialisers is not the number of gates, or the last
            axis of the shape is not divisible by it.
    """
    inits = [init] * gates if callable(init) else list(init)
    if len(inits) != gates:
        raise ValueError(f"{len(inits)} initialisers for {gates} gates")

    def init_all(
        key: PRNGKeyArray, shape: Shape, dtype: DTypeLike = jnp.float32, /
    ) -> Array:
        block = (*shape[:-1], _width(shape, gates))
        keys = jax.random.split(key, gates)
        return jnp.concatenate(
            [init(k, block, dtype) for init, k in zip(inits, keys, strict=True)], -1
        )

    return init_all


@dataclasses.dataclass(frozen=True)
class NegativeOf:
    """In `gate_bias`: minus the bias of another gate, for each unit."""

    gate: int


def gate_bias(gates: Sequence[Number | Initializer | NegativeOf]) -> Initializer:
    """Biases ``(gates · n,)`` from one number or initialiser per gate, in order.

    Raises:
        ValueError: the shape is not divisible by the number of gates, or a `NegativeOf`
            refers to a gate that is itself a `NegativeOf`.

    The chrono initialisation of an LSTM with the gates i, f, g, o:

    >>> init = gate_bias([NegativeOf(1), chrono(100), 0.0, 0.0])
    >>> i, f, g, o = jnp.split(init(jax.random.key(0), (4 * 32,)), 4)
    >>> bool(jnp.all(i == -f)), float(f.min()) >= 0, float(o.max())
    (True, True, 0.0)
    """
    for gate in gates:
        if isinstance(gate, NegativeOf) and isinstance(gates[gate.gate], NegativeOf):
            raise ValueError(f"gate {gate.gate} has no bias of its own to negate")

    def init(
        key: PRNGKeyArray, shape: Shape, dtype: DTypeLike = jnp.float32, /
    ) -> Array:
        block = (*shape[:-1], _width(shape, len(gates)))
        keys = jax.random.split(key, len(gates))

        def draw(index: int) -> Array:
            gate = gates[index]
            if isinstance(gate, NegativeOf):
                return -draw(gate.gate)
            own = gate if callable(gate) else constant(gate)
            return own(keys[index], block, dtype)

        return jnp.concatenate([draw(index) for index in range(len(gates))], -1)

    return init


def _width(shape: Shape, gates: int) -> int:
    if shape[-1] % gates:
        raise ValueError(f"{shape[-1]} units cannot be divided into {gates} gates")
    return shape[-1] // gates
