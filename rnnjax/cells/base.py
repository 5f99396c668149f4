"""The interface of a recurrent cell.

To define a cell, write its equations and nothing else::

    class Elman(Cell):
        def setup(self):
            self.kernel("V", self.inputs, self.features, "glorot_uniform")
            self.kernel("U", self.features, self.features, self.recurrent_init)
            self.b = self.vector("b", self.features)

        def readin(self, x):
            return self.project("V", x) + self.b

        def step(self, h, drive):
            return tanh(drive + self.recur("U", h))

Each call of `project` or `recur` is a *seam*: one use of a kernel in a step, where the
kernel multiplies the data. The recurrence records the cotangent of the output of every
seam. The gradient of a kernel is then a single matrix product after the loop, and a
probe can determine the contribution of each time step. All other operations in `step`
are pointwise and are differentiated by ordinary autodiff. A *tap* is a zero that is
added to the output of a seam, or to a state, so that the gradient with respect to it
can be read off (collection ``taps``). A probe may also hold the output of a seam fixed
(collection ``held``), which makes it a constant of the step.

A kernel is stored as ``(in, out)`` and applied as ``v @ K``; the matrix U that papers
write in ``U h`` is its transpose.
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
from rnnjax.errors import unknown
from rnnjax.initializers import Initializer, chrono, make_initializer, per_gate
from rnnjax.registry import Registry
from rnnjax.types import State


Init = str | tuple[str, float] | Callable[..., Array]
"""An initialiser: its name, (name, gain), or a function ``(key, shape, dtype)``."""

CELLS: Registry[type["Cell"]] = Registry("cell")
"""Cells by name."""

register_cell = CELLS.register
"""Decorator ``@register_cell("name")``; `name` selects the class in a configuration."""


@struct.dataclass
class Seam:
    """One use of a kernel in a step: `output` = `value` @ kernel, in the given form.

    Attributes:
        value: what the kernel multiplies.
        output: the product.
        kernel: name of the kernel.
        form: see `rnnjax.cells.products.apply_kernel`.
    """

    value: Inexact[Array, "... m"]
    output: Inexact[Array, "... n"]
    kernel: str = struct.field(pytree_node=False)
    form: Form = struct.field(pytree_node=False)


class Cell(nn.RNNCellBase):
    """Base class of all cells, a `flax.linen` module that can be used as RNNCellBase.

    Attributes:
        inputs: size m of the input.
        features: size n of the hidden state.
        param_dtype: dtype of parameters and states.

    Numeric hyperparameters of a cell (a time step, a damping) may be traced arrays.
    """

    inputs: int
    features: int
    param_dtype: Any = jnp.float32

    initial: ClassVar[tuple[str, ...]] = ()
    """Fields that are used only at initialisation: runs that differ only in these share
    one compiled program."""

    structural: ClassVar[tuple[str, ...]] = (
        "inputs",
        "features",
        "param_dtype",
        "parent",
        "name",
    )
    """Fields that are set by the model; all others are options of the cell."""

    unitary: ClassVar[tuple[str, ...]] = ()
    """A claim that `rnnjax check` holds against numbers: `kernels` of these names are
    unitary (real ones orthogonal), whatever the parameters are."""

    nonexpansive: ClassVar[bool] = False
    """Another claim: no step takes two states farther apart, ‖∂h_t/∂h_{t−1}‖ ≤ 1."""

    # -- to be defined by the author of a cell -----------------------------------

    def kernels(self) -> Mapping[str, Array]:
        """Effective kernels computed from free parameters, once per sequence."""
        return {}

    @nn.nowrap
    def parameter_of(self, kernel: str, /) -> str | None:
        """Path of the parameter that equals an entry of `kernels`; None if derived."""
        return None

    def readin(self, x: Array, /) -> Any:
        """The drive: what depends on the input only, ``(…, m)`` to ``(…, ·)``."""
        return x

    def step(self, state: State, drive: Any, /) -> State:
        """One time step; its matrix products go through `recur`."""
        raise NotImplementedError

    def readout(self, state: State, drive: Any, /) -> Array:
        """The output, which the next layer reads: by default the first state array."""
        return jax.tree.leaves(state)[0]

    @nn.nowrap
    def initial_state(self, batch: tuple[int, ...], /) -> State:
        """The state before the first step; by default zeros ``(*batch, n)``."""
        return jnp.zeros((*batch, self.features), self.param_dtype)

    # -- to be used by the author of a cell --------------------------------------

    def kernel(
        self, name: str, rows: int, columns: int, init: Init, gates: int = 1
    ) -> Array:
        """Declare a kernel ``(rows, gates * columns)``, initialised gate by gate."""
        function = per_gate(resolve_initializer(init), gates)
        return self.param(name, function, (rows, gates * columns), self.param_dtype)

    def vector(self, name: str, size: int, init: Init = "zeros") -> Array:
        """Declare a vector ``(size,)``: a bias or a diagonal kernel."""
        return self.param(name, resolve_initializer(init), (size,), self.param_dtype)

    def project(self, name: str, x: Array, form: Form = "dense") -> Array:
        """Multiply an input `x` by the kernel `name`, outside the time loop."""
        return self._seam(name, x, form)

    def recur(self, name: str, v: Array, form: Form = "dense") -> Array:
        """Multiply `v`, a function of the state, by the kernel `name`, in the loop."""
        return self._seam(name, v, form)

    def _seam(self, name: str, value: Array, form: Form) -> Array:
        kernel = self._effective(name)
        dtype = jnp.result_type(value, kernel)
        value = value.astype(dtype)
        # `init` makes every collection mutable, but should return only parameters
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
        if not self.has_variable("params", name):
            raise unknown("kernel", name, [*derived, *self.variables["params"]])
        return self.get_variable("params", name)

    @property
    def output_size(self) -> int:
        """Size of the result of `readout`."""
        return self.features

    # -- flax.linen.RNNCellBase --------------------------------------------------

    def __call__(self, carry: State, inputs: Array) -> tuple[State, Array]:
        """One step in linen's convention: ``(carry, x) -> (carry, output)``."""
        # equations act on the last axis: a bias (n,) is added to any leading shape
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
    """The initialiser given by a name, a ``(name, gain)`` pair, or as a function."""
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
    """U(−1/√n, 1/√n), the initialisation of several published cells."""
    return make_initializer("uniform", bound=1.0 / math.sqrt(features))


def chrono_or(value: float, t_max: Any, sign: float = 1.0) -> float | Initializer:
    """Initial bias of a gate that keeps the past, for `gate_bias`.

    Args:
        value: the initial bias if `t_max` is None.
        t_max: the longest dependency in steps: the initial bias is log U(1, t_max − 1)
            (Tallec & Ollivier 2018).
        sign: −1 for a gate that admits new input instead.
    """
    if t_max is None:
        return value
    draw = chrono(t_max)

    def init(key: Any, shape: Any, dtype: Any = jnp.float32, /) -> Array:
        return sign * draw(key, shape, dtype)

    return init
