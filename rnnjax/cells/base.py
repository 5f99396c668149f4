"""The contract of a recurrent cell.

An author writes the equations and nothing else::

    class Elman(Cell):
        def setup(self):
            self.kernel("V", self.inputs, self.features, "glorot_uniform")
            self.kernel("U", self.features, self.features, self.recurrent_init)
            self.b = self.vector("b", self.features)

        def readin(self, x):
            return self.project("V", x) + self.b

        def step(self, h, drive):
            return tanh(drive + self.recur("U", h))

`project` and `recur` are *seams*: the two places where a kernel meets the data. The
recurrence reads the cotangent of every seam, so that the gradient of a kernel is one
matrix product after the loop, and a probe can tell what each time step gave to it.
Anything else in `step` is pointwise and differentiated as it stands. A probe may also
hold the output of a seam (collection ``held``): it is then a constant of the step.

A kernel is stored as ``(in, out)`` and applied as ``v @ K``; the matrix that papers
call U in ``U h`` is its transpose.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Inexact

from rnnjax.cells.products import Form, apply_kernel, recall
from rnnjax.initializers import Initializer, chrono, make_initializer, per_gate
from rnnjax.registry import Registry
from rnnjax.types import State


Init = str | tuple[str, float] | Callable[..., Array]
"""An initialiser: its name, (name, gain), or a function ``(key, shape, dtype)``."""

CELLS: Registry[type["Cell"]] = Registry("cell")
"""Cells by name."""

register_cell = CELLS.register
"""Decorator ``@register_cell("name")``, which a configuration finds the class by."""


@struct.dataclass
class Seam:
    """One use of a kernel in a step: `output` = `value` @ kernel, in the given form."""

    value: Inexact[Array, "... m"]
    output: Inexact[Array, "... n"]
    kernel: str = struct.field(pytree_node=False)
    form: Form = struct.field(pytree_node=False)


class Cell(nn.RNNCellBase):
    """Base of all cells; a `flax.linen` module usable wherever an RNNCellBase is.

    Attributes:
        inputs: size m of the input.
        features: size n of the hidden state.
        param_dtype: dtype of parameters and states.

    Numeric hyper-parameters of a cell (a time step, a damping) may be traced arrays.
    """

    inputs: int
    features: int
    param_dtype: Any = jnp.float32

    initial: ClassVar[tuple[str, ...]] = ()
    """Fields that act at initialisation only: runs that differ in nothing else share
    one compiled program."""

    structural: ClassVar[tuple[str, ...]] = (
        "inputs",
        "features",
        "param_dtype",
        "parent",
        "name",
    )
    """Fields that the model sets; all others are options of the cell."""

    # -- what an author writes ---------------------------------------------------

    def kernels(self) -> Mapping[str, Array]:
        """Effective kernels computed from free parameters, once per sequence."""
        return {}

    @nn.nowrap
    def parameter_of(self, kernel: str, /) -> str | None:
        """Path of the parameter that one of `kernels` is, if it is one uncomputed."""
        return None

    def readin(self, x: Array, /) -> Any:
        """The drive: all that depends on the input alone, ``(…, m)`` to ``(…, ·)``."""
        return x

    def step(self, state: State, drive: Any, /) -> State:
        """One time step; its matrix products go through `recur`."""
        raise NotImplementedError

    def readout(self, state: State, drive: Any, /) -> Array:
        """What the next layer sees: by default the first state array."""
        return jax.tree.leaves(state)[0]

    @nn.nowrap
    def initial_state(self, batch: tuple[int, ...], /) -> State:
        """The state before the first step, here zeros ``(*batch, n)``."""
        return jnp.zeros((*batch, self.features), self.param_dtype)

    # -- what an author uses -----------------------------------------------------

    def kernel(
        self, name: str, rows: int, columns: int, init: Init, gates: int = 1
    ) -> Array:
        """Declare a kernel ``(rows, gates * columns)``, each gate initialised alone."""
        function = per_gate(resolve_initializer(init), gates)
        return self.param(name, function, (rows, gates * columns), self.param_dtype)

    def vector(self, name: str, size: int, init: Init = "zeros") -> Array:
        """Declare a vector ``(size,)``: a bias or a diagonal kernel."""
        return self.param(name, resolve_initializer(init), (size,), self.param_dtype)

    def project(self, name: str, x: Array, form: Form = "dense") -> Array:
        """Input `x` through the kernel `name`, outside the time loop."""
        return self._seam(name, x, form)

    def recur(self, name: str, v: Array, form: Form = "dense") -> Array:
        """A function `v` of the state through the kernel `name`, inside the loop."""
        return self._seam(name, v, form)

    def _seam(self, name: str, value: Array, form: Form) -> Array:
        kernel = self._effective(name)
        dtype = jnp.result_type(value, kernel)
        value = value.astype(dtype)
        # `init` makes every collection mutable, and should return parameters alone
        recording = self.is_mutable_collection("seams") and not self.is_initializing()
        site = name
        if recording:
            known = self.variables.get("seams", {})
            repeats = sum(k.partition("#")[0] == name for k in known)
            site = f"{name}#{repeats}" if repeats else name
        kernel = kernel.astype(dtype)
        if self.has_variable("held", site):
            output = self.get_variable("held", site)
        elif self.has_variable("known", site):
            output = self.get_variable("known", site)
            transposed = self.get_variable("transposed", name, None)
            output = recall(value, kernel, output, transposed, form)
        else:
            output = apply_kernel(value, kernel, form)
        if self.has_variable("taps", site):
            output = output + self.get_variable("taps", site)
        if recording:
            self.put_variable("seams", site, Seam(value, output, name, form))
        return output

    def _effective(self, name: str) -> Array:
        if self.has_variable("kernels", name):
            return self.get_variable("kernels", name)
        derived = self.kernels()
        if name in derived:
            return derived[name]
        return self.get_variable("params", name)

    @property
    def output_size(self) -> int:
        """Size of what `readout` gives."""
        return self.features

    # -- flax.linen.RNNCellBase --------------------------------------------------

    def __call__(self, carry: State, inputs: Array) -> tuple[State, Array]:
        """One step as linen's cells do it: ``(carry, x) -> (carry, output)``."""
        # equations act on the last axis; a bias (n,) meets inputs of any leading shape
        with jax.numpy_rank_promotion("allow"):
            drive = self.readin(inputs)
            state = self.step(carry, drive)
            return state, self.readout(state, drive)

    @nn.nowrap
    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> State:
        """Initial state for inputs ``(*batch, m)``."""
        return self.initial_state(input_shape[:-1])

    @property
    def num_feature_axes(self) -> int:
        """Number of feature axes of an input."""
        return 1


def resolve_initializer(init: Init) -> Callable[..., Array]:
    """The function behind a name, a ``(name, gain)`` pair, or the function itself."""
    if callable(init):
        return init
    if isinstance(init, tuple):
        name, gain = init
        return make_initializer(name, gain=gain)
    return make_initializer(init)


def split_gates(z: Array, gates: int) -> list[Array]:
    """The gates of a fused pre-activation ``(…, gates * n)``."""
    return jnp.split(z, gates, axis=-1)


def uniform_fan(features: int) -> Callable[..., Array]:
    """U(−1/√n, 1/√n), the start of several published cells."""
    return make_initializer("uniform", bound=1.0 / math.sqrt(features))


def chrono_or(value: float, t_max: Any, sign: float = 1.0) -> float | Initializer:
    """The bias of a gate that keeps the past, for `gate_bias`.

    Args:
        value: its start, if `t_max` is None.
        t_max: the longest dependency in steps: the bias starts at log U(1, t_max − 1)
            (Tallec & Ollivier 2018).
        sign: −1 for a gate that lets the new in instead.
    """
    if t_max is None:
        return value
    draw = chrono(t_max)

    def init(key: Any, shape: Any, dtype: Any = jnp.float32, /) -> Array:
        return sign * draw(key, shape, dtype)

    return init
