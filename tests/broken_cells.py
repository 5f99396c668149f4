"""Cells with one fault each, as their authors may write them; `# wrong` marks the line.

`FAULTS` says in which row a check must find it, and what the row must say.
"""

import dataclasses
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax.cells import Cell, tanh
from rnnjax.cells.elman import Elman
from rnnjax.cells.exprnn import ExpRNN


@dataclasses.dataclass(frozen=True)
class Fault:
    """Group and name of the row that finds a fault, words of its cause and hint."""

    kind: type[Cell]
    row: str
    words: tuple[str, ...]


FAULTS: dict[str, Fault] = {}
COUNT = [0]
KEPT: list[Any] = []


def fault(row: str, *words: str) -> Any:
    """Enter a cell in `FAULTS`."""

    def enter(kind: type[Cell]) -> type[Cell]:
        FAULTS[kind.__name__] = Fault(kind, row, words)
        return kind

    return enter


@fault("contract/methods", "no method step", "define step")
class NoStep(Cell):  # wrong
    def setup(self):
        self.kernel("U", self.features, self.features, "orthogonal")


@fault("contract/fields of the start", "'rate' acts here", "take rate out", "in step")
class ActsLater(Elman):
    rate: float = 1.0
    initial = (*Elman.initial, "rate")

    def step(self, h, drive):
        return super().step(self.rate * h, drive)  # wrong


@fault("contract/methods", "Python if", "jnp.where", "in step")
class DecidedByAField(Elman):
    rate: float = 1.0

    def step(self, h, drive):
        if self.rate > 0.5:  # wrong
            h = self.rate * h
        return super().step(h, drive)


@fault("contract/methods", "no attribute", "self.vector", "in step")
class Undeclared(Elman):
    def step(self, h, drive):
        return super().step(h, drive + self.c)  # wrong


@fault("contract/methods", "1D sequences", "*batch", "in initial_state")
class BatchIsNoNumber(Elman):
    def initial_state(self, batch):
        return jnp.zeros((batch, self.features))  # wrong


@fault("contract/methods", "returned None", "returns the new state", "in step")
class NoReturn(Elman):
    def step(self, h, drive) -> Any:
        self.recur("U", h)  # wrong


@fault("contract/methods", "(B, 8)", "(B, 4)", "in step")
class Grown(Elman):
    def step(self, h, drive):
        return jnp.concatenate([h, drive], axis=-1)  # wrong


@fault("contract/methods", "readout", "in step")
class Pair(Elman):
    def step(self, h, drive) -> Any:
        h = tanh(drive + self.recur("U", h))
        return h, h  # wrong


@fault("contract/methods", "np.tanh", "jnp.tanh")
class NumpyTanh(Elman):
    def step(self, h, drive):
        return np.tanh(drive + self.recur("U", h))  # wrong


@fault("contract/methods", "Python if", "jnp.where")
class Branch(Elman):
    def step(self, h, drive):
        z = drive + self.recur("U", h)
        if jnp.sum(z) > 0:  # wrong
            return tanh(z)
        return z


@fault("contract/methods", "float()", "jnp.where")
class Number(Elman):
    def step(self, h, drive):
        size = float(jnp.sum(h))  # wrong
        return tanh(drive + size * self.recur("U", h))


@fault("contract/methods", "unknown kernel 'W'", "known: U, V, b")
class UnknownKernel(Elman):
    def step(self, h, drive):
        return tanh(drive + self.recur("W", h))  # wrong


@fault("contract/methods", "contracting dimensions", "self.features")
class WrongRows(Elman):
    def setup(self):
        self.kernel("V", self.inputs, self.features, "glorot_uniform")
        self.kernel("U", self.features + 1, self.features, "glorot_uniform")
        self.b = self.vector("b", self.features)

    def step(self, h, drive):
        return tanh(drive + self.recur("U", h))  # wrong


@fault("contract/methods", "set outside setup", "part of the state")
class SetsAttribute(Elman):
    def step(self, h, drive):
        self.last = h  # wrong
        return tanh(drive + self.recur("U", h))


@fault("contract/methods", "output_size is 4", "output_size")
class OutputSize(Elman):
    def readout(self, state, drive):
        return jnp.concatenate([state, drive], axis=-1)  # wrong


@fault("contract/methods", "complex64", "real numbers")
class ComplexOutput(Elman):
    def readout(self, state, drive):
        return state * (1 + 1j)  # wrong


@fault("contract/methods", "int32", "param_dtype")
class WholeState(Elman):
    def initial_state(self, batch):
        return jnp.zeros((*batch, self.features), jnp.int32)  # wrong


@fault("contract/methods", "for a batch of B", "*batch")
class FixedBatch(Elman):
    def initial_state(self, batch):
        return jnp.zeros((4, self.features), self.param_dtype)  # wrong


@fault("contract/nothing kept", "an array of a step is kept", "is state")
class Keeps(Elman):
    def step(self, h, drive):
        KEPT.append(h)  # wrong
        return tanh(drive + self.recur("U", h))


@fault("contract/traced twice", "other constants", "random numbers come in")
class NumpyRandom(Elman):
    def step(self, h, drive):
        noise = np.random.normal(size=self.features)  # wrong
        return tanh(drive + self.recur("U", h) + 0.1 * noise.astype("float32"))


@fault("contract/traced twice", "other constants")
class PythonRandom(Elman):
    def step(self, h, drive):
        return tanh(drive + random.random() * self.recur("U", h))  # wrong


@fault("contract/traced twice", "other constants", "counters belong to the state")
class Counts(Elman):
    def step(self, h, drive):
        COUNT[0] += 1
        return tanh(drive + self.recur("U", h)) * COUNT[0]  # wrong


@fault("contract/random numbers", "fixed key")
class FixedKey(Elman):
    def step(self, h, drive):
        noise = jax.random.normal(jax.random.key(0), h.shape, h.dtype)  # wrong
        return tanh(drive + self.recur("U", h) + 0.1 * noise)


@fault("contract/32 bits", "float64", "np.float64")
class WideNumber(Elman):
    def step(self, h, drive):
        z = np.float64(0.5) * self.recur("U", h)  # wrong
        return tanh(drive + z).astype(h.dtype)


@fault("contract/32 bits", "float64", "self.param_dtype")
class WideArray(Elman):
    def step(self, h, drive):
        z = drive + self.recur("U", h) + jnp.ones(self.features)  # wrong
        return tanh(z).astype(h.dtype)


@fault("contract/64 bits", "a state of float32", "in initial_state")
class NarrowState(Elman):
    def initial_state(self, batch):
        return jnp.zeros((*batch, self.features), jnp.float32)  # wrong


@fault("contract/readin of one step", "axis=-1")
class OverTime(Elman):
    def readin(self, x):
        x = x - jnp.mean(x, axis=0, keepdims=True)
        return self.project("V", x) + self.b  # wrong


@fault("contract/examples", "changes the others", "axis=-1")
class BatchNorm(Elman):
    def step(self, h, drive):
        z = drive + self.recur("U", h)
        return tanh(z - jnp.mean(z, axis=0, keepdims=True))  # wrong


@fault("contract/order of examples", "another order", "sized by the batch")
class ByPlace(Elman):
    def step(self, h, drive):
        place = jnp.arange(h.shape[0], dtype=h.dtype)[:, None]
        return tanh(drive + self.recur("U", h) + 0.1 * place)  # wrong


@fault("contract/input", "depends on it", "use drive")
class NoInput(Elman):
    def step(self, h, drive):
        return tanh(0 * drive + self.recur("U", h))  # wrong


@fault("contract/state before", "depends on it", "first argument")
class NoState(Elman):
    def step(self, h, drive):
        return tanh(drive + 0 * self.recur("U", h))  # wrong


@fault("contract/parameters", "spare", "drop it", "in setup")
class Idle(Elman):
    def setup(self):
        super().setup()
        self.vector("spare", self.features)  # wrong


@jax.custom_vjp
def wrong_rule(z):
    """tanh with the derivative 1 − tanh."""
    return jnp.tanh(z)


wrong_rule.defvjp(lambda z: (jnp.tanh(z), jnp.tanh(z)), lambda out, g: (g * (1 - out),))


@fault("gradients/finite differences", "custom_vjp")
class WrongRule(Elman):
    def step(self, h, drive):
        return wrong_rule(drive + self.recur("U", h))  # wrong


@fault("gradients/finite differences", "stop_gradient")
class Detached(Elman):
    def step(self, h, drive):
        return tanh(drive + self.recur("U", lax.stop_gradient(h)) + 0.1 * h)  # wrong


@fault("use/inputs and state 0", "gradient", "jnp.where")
class Direction(Elman):
    def step(self, h, drive):
        z = drive + self.recur("U", h)
        return z / jnp.linalg.norm(z, axis=-1, keepdims=True)  # wrong


@fault("use/inputs of ±50", "values", "jax.nn.sigmoid")
class Overflows(Elman):
    def step(self, h, drive):
        z = jnp.exp(4 * (drive + self.recur("U", h)))
        return z / (1 + z)  # wrong


@fault("probes/B unitary", "from the identity")
class NotUnitary(ExpRNN):
    def kernels(self):
        return {"B": 1.01 * super().kernels()["B"]}  # wrong


@fault("training/loss falls", "diverged", "grows")
class Grows(Elman):
    def step(self, h, drive):
        return 1e12 * (drive + self.recur("U", h))  # wrong


@fault("contract/traced twice", "constants", "in setup", "from a seed")
class MaskDrawnAnew(Cell):
    def setup(self):
        n = self.features
        self.U = self.kernel("U", n, n, "orthogonal")
        self.mask = np.random.rand(n, n) < 0.5  # wrong

    def kernels(self):
        return {"W": self.U * self.mask}

    def step(self, h, drive):
        return tanh(drive + self.recur("W", h))

    def readin(self, x):
        return x[..., :1]


@fault("contract/size of the batch", "changes it by", "self.features")
class SizedByTheBatch(Elman):
    def step(self, h, drive):
        return tanh(drive + self.recur("U", h) / h.shape[0])  # wrong


@fault("contract/methods", "changed the state", "return a new state")
class ChangesItsState(Elman):
    def initial_state(self, batch):
        return {"h": super().initial_state(batch)}

    def step(self, h, drive):
        h["h"] = tanh(drive + self.recur("U", h["h"]))
        return h  # wrong

    def readout(self, state, drive):
        return state["h"]


@fault("probes/non-expansive", "bound 1", "farther apart")
class ClaimsToContract(Elman):
    nonexpansive = True

    def step(self, h, drive):
        return tanh(drive + 3 * self.recur("U", h))  # wrong
