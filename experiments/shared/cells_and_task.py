"""Cells and a task that some figures need and nothing else does."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from rnnjax.activations import activation, sigmoid
from rnnjax.cells.base import Cell, Init
from rnnjax.checks import LONGEST, check_int
from rnnjax.initializers import constant
from rnnjax.tasks.base import Data, Task, TaskSpec
from rnnjax.types import Batch


class LinearTransition(Cell):
    """Henaff, Szlam & LeCun (2016), LT-RNN: only the input meets a non-linearity.

        h_t = U h_{t−1} + φ(V x_t + b),   ∂h_t/∂h_{t−1} = U

    State: h ``(B, n)``.

    Attributes:
        activation: φ.
        recurrent_init: initialiser of U.
        input_init: initialiser of V.
    """

    activation: str = "relu"
    recurrent_init: Init = "orthogonal"
    input_init: Init = "glorot_uniform"

    initial = ("recurrent_init", "input_init")

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, self.input_init)
        self.kernel("U", n, n, self.recurrent_init)
        self.b = self.vector("b", n)
        self.phi = activation(self.activation)

    def readin(self, x):
        return self.phi(self.project("V", x) + self.b)

    def step(self, h, drive):
        return self.recur("U", h) + drive


class LearnedLeak(Cell):
    """Tallec & Ollivier (2018), eq. 5: a leaky network that learns its rates.

        h_t = k ⊙ h_{t−1} + (1 − k) ⊙ tanh(U h_{t−1} + V x_t + b),   k = σ(b_k)

    State: h ``(B, n)``.

    Attributes:
        keep_bias: start of b_k.
    """

    keep_bias: float = 1.0

    initial = ("keep_bias",)

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, "glorot_uniform")
        self.kernel("U", n, n, "orthogonal")
        self.b = self.vector("b", n)
        self.keep = self.vector("keep", n, constant(self.keep_bias))
        self.phi = activation("tanh")

    def readin(self, x):
        return self.project("V", x) + self.b

    def step(self, h, drive):
        keep = sigmoid.function(self.keep)
        return keep * h + (1 - keep) * self.phi(drive + self.recur("U", h), "hidden")


SYMBOLS = 10


@dataclasses.dataclass(frozen=True)
class Warped(Task):
    """Name the symbol before the present one, in a sequence whose time is warped.

    Tallec & Ollivier (2018), Fig. 1. Symbols are random, each unlike the one before,
    and each stays for `warp` steps or, if `variable`, for 1 to `warp` steps drawn anew
    each time. The target of a step is the symbol before the one that stays. No loss is
    taken before the second symbol.

    Baseline: a guess among the other symbols, accuracy 1/9 and loss ln 9. Solved from
    accuracy .99 on.

    Attributes:
        length: steps T.
        warp: the longest stay.
        variable: whether stays differ.
    """

    name: ClassVar[str] = "Warped"
    length: int = 200
    warp: int = 10
    variable: bool = False

    def __post_init__(self) -> None:
        check_int("task.length", self.length, 2, LONGEST)
        check_int("task.warp", self.warp, 1, self.length - 1)

    def spec(self, data: Data) -> TaskSpec:
        """Sizes and baselines, see the class."""
        return TaskSpec(
            length=self.length,
            vocabulary=SYMBOLS,
            input_size=1,
            output_size=SYMBOLS,
            loss="cross_entropy",
            readout="every",
            metric="accuracy",
            baseline=1 / (SYMBOLS - 1),
            baseline_loss=math.log(SYMBOLS - 1),
            solved=0.99,
        )

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """Fresh sequences, inputs and targets ``(T, B)``."""
        key_first, key_next, key_stay = jax.random.split(key, 3)
        shape, T = (self.length, batch), self.length
        first = jax.random.randint(key_first, (1, batch), 0, SYMBOLS, jnp.int32)
        jumps = jax.random.randint(key_next, (T - 1, batch), 1, SYMBOLS, jnp.int32)
        symbols = jnp.cumsum(jnp.concatenate([first, jumps]), axis=0) % SYMBOLS
        stay = jnp.full(shape, self.warp, jnp.int32)
        if self.variable:
            stay = jax.random.randint(key_stay, shape, 1, self.warp + 1, jnp.int32)
        # a change at step t increments the index of the symbol from there on
        changes = jnp.zeros(shape, jnp.int32)
        columns = jnp.broadcast_to(jnp.arange(batch)[None, :], shape)
        changes = changes.at[jnp.cumsum(stay, axis=0), columns].add(1, mode="drop")
        place = jnp.cumsum(changes, axis=0)
        before = jnp.take_along_axis(symbols, jnp.maximum(place - 1, 0), axis=0)
        return Batch(
            inputs=jnp.take_along_axis(symbols, place, axis=0),
            targets=before,
            mask=(place > 0).astype(jnp.float32),
            lengths=jnp.full((batch,), T, jnp.int32),
            informative=changes > 0,
        )
