"""Encoder, recurrent layers, readout: the model that is trained and probed."""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell
from rnnjax.recurrence.backprop_rules import Backprop
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.masking import at_end
from rnnjax.recurrence.remat import Remat
from rnnjax.types import Lengths


LATEST: dict[str, Any] = {"init_fn": lambda: None, "reduce_fn": lambda old, new: new}
"""Options of `sow` that store the value itself, not a tuple of all sown values."""


class SequenceModel(nn.Module):
    """A stack of recurrent layers between an encoder and a linear readout.

    Attributes:
        cell: the cell of every layer; its `inputs` is set layer by layer.
        output_size: size q of the answer.
        vocabulary: number of tokens; None for vector inputs, which are not embedded.
        input_size: size m of a vector input.
        embedding: size of a token's embedding.
        layers: number of recurrent layers.
        bidirectional: each layer also runs backwards; the outputs are concatenated.
        readout: `last`: one answer, from the final state of each direction of the last
            layer (at the last valid step, and at step 0 for the backward direction);
            `every`: one answer at every step.
        dropout: rate between layers; needs the rng ``dropout`` when training.
        variational: one dropout mask for all steps (Gal & Ghahramani 2016).
        engine: how the recurrences are computed and differentiated, see
            `rnnjax.recurrence.engines`.
        backprop, lag: how the adjoint is propagated back through every recurrence, see
            `rnnjax.recurrence.backprop_rules`; answers do not depend on them.
        remat: number of steps that are recomputed together in the backward pass, see
            `Recurrent`. With an answer at the last step, the outputs of the last layer
            are then never in memory all at once.
    """

    cell: Cell
    output_size: int
    vocabulary: int | None = None
    input_size: int = 1
    embedding: int = 32
    layers: int = 1
    bidirectional: bool = False
    readout: Literal["last", "every"] = "last"
    dropout: float = 0.0
    variational: bool = False
    learn_initial_state: bool = False
    engine: str = "scan"
    backprop: Backprop = "exact"
    lag: Any = None
    remat: Remat | None = None

    def setup(self) -> None:
        dtype = self.cell.param_dtype
        width = self.input_size
        if self.vocabulary is not None:
            width = self.embedding
            # linen's default: a word vector has a norm of about 1
            self.embed = nn.Embed(self.vocabulary, width, param_dtype=dtype)
        stack = []
        for _ in range(self.layers):
            walks = [self._walk(width, backwards=False)]
            if self.bidirectional:
                walks.append(self._walk(width, backwards=True))
            stack.append(walks)
            width = self.cell.output_size * len(walks)
        self.stack = stack
        self.head = nn.Dense(self.output_size, param_dtype=dtype)
        shared = (0,) if self.variational else ()
        self.drop = nn.Dropout(self.dropout, broadcast_dims=shared)

    def _walk(self, width: int, backwards: bool) -> Recurrent:
        cell = self.cell.clone(parent=None, inputs=width)
        return Recurrent(
            cell,
            backwards,
            self.engine,
            self.learn_initial_state,
            self.backprop,
            self.lag,
            remat=self.remat,
        )

    def __call__(
        self, inputs: Array, lengths: Lengths | None = None, train: bool = False
    ) -> Array:
        """Answers ``(B, q)`` from the last states, or ``(T, B, q)`` at every step.

        Args:
            inputs: tokens ``(T, B)`` or vectors ``(T, B, m)``.
            lengths: valid steps of each example; None: all. Inputs after them are never
                read.
            train: whether dropout is active.

        With ``mutable=["layers"]`` it also returns the inputs and the trajectories of
        each layer, keyed by its number.
        """
        x = self.encode(inputs)
        short = self.readout == "last" and self.remat is not None
        for layer in range(self.layers):
            x = self.between(x, train)
            last = short and layer == self.layers - 1
            entered = x
            x, states = self.run_layer(layer, x, lengths, last)
            if not self.is_initializing():
                self.sow("layers", str(layer), (entered, states), **LATEST)
        return self.head(x) if short else self.decode(x, lengths)

    def encode(self, inputs: Array) -> Array:
        """Inputs of the first layer ``(T, B, m)``."""
        return inputs if self.vocabulary is None else self.embed(inputs)

    def between(self, x: Array, train: bool = False) -> Array:
        """What is applied before each layer (dropout)."""
        if not self.dropout:
            return x
        return self.drop(x, deterministic=not train)

    def run_layer(
        self, layer: int, x: Array, lengths: Lengths | None, last: bool = False
    ) -> tuple[Array, list[Any]]:
        """Outputs ``(T, B, ·)`` of one layer and the trajectory of each direction.

        With `last`, only those after the last step of each walk, ``(B, ·)``.
        """
        runs = [walk(x, lengths, last=last) for walk in self.stack[layer]]
        outputs = [out for out, _ in runs]
        joined = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=-1)
        return joined, [states for _, states in runs]

    def decode(self, x: Float[Array, "T B n"], lengths: Lengths | None) -> Array:
        """Answers from the last layer's outputs ``(T, B, n)``."""
        if self.readout == "last":
            walks = jnp.split(x, 2, axis=-1) if self.bidirectional else [x]
            ends = [at_end(one, lengths, bool(i)) for i, one in enumerate(walks)]
            x = jnp.concatenate(ends, axis=-1) if self.bidirectional else ends[0]
        return self.head(x)
