"""Flax models as a user may write them around our recurrences."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import CELLS
from rnnjax.cells.elman import Elman
from rnnjax.recurrence.layer import Recurrent


STEPS, SIZE, WIDTH, CLASSES = 4, 4, 3, 2
LENGTHS = np.array([4, 3, 1, 0])
VALID = np.arange(STEPS)[:, None] < LENGTHS
# resets at the first and at the last step of an example, in a row, and on padding
RESETS = np.zeros((STEPS, SIZE), bool)
RESETS[[0, 2, 3, 1, 2, 3, 3, 0], [0, 0, 0, 1, 1, 1, 2, 2]] = True
TOKENS = np.random.default_rng(0).integers(0, 5, (STEPS, SIZE))
TARGETS = np.random.default_rng(1).integers(0, CLASSES, (STEPS, SIZE))
WEIGHTS = np.random.default_rng(2).random((STEPS, SIZE)) * VALID
ONE = WEIGHTS * (np.arange(STEPS)[:, None] == np.array([1, 1, 0, 0]))


def layer(cell: str, name: str, inputs: int = WIDTH, **fields: Any) -> Recurrent:
    made = CELLS[cell](inputs, WIDTH, jnp.float64, parent=None)
    return Recurrent(made, name=name, **fields)


def dense(size: int, name: str) -> nn.Dense:
    return nn.Dense(size, param_dtype=jnp.float64, name=name)


class Packed(nn.Module):
    """Two recurrences, one from each end, with a residual connection in between."""

    cells: tuple[str, str]

    @nn.compact
    def __call__(self, tokens):
        masks = jnp.asarray(LENGTHS), jnp.asarray(RESETS)
        x = nn.Embed(5, WIDTH, param_dtype=jnp.float64, name="embed")(tokens)
        first = layer(self.cells[0], "first", learn_initial_state=True)
        a, _ = first(x, *masks)
        a = dense(WIDTH, "between")(a)
        x = x + nn.LayerNorm(param_dtype=jnp.float64)(a)
        second = layer(self.cells[1], "second", backwards=True)
        b, states = second(x, *masks)
        seen = [jnp.abs(h) for h in jax.tree.leaves(states)]
        return dense(CLASSES, "head")(jnp.concatenate([a, b, *seen], -1))


class Stack(nn.Module):
    """Two bidirectional layers."""

    @nn.compact
    def __call__(self, tokens):
        masks = jnp.asarray(LENGTHS), jnp.asarray(RESETS)
        x = nn.Embed(5, WIDTH, param_dtype=jnp.float64, name="embed")(tokens)
        for depth in range(2):
            ahead = layer("lstm", f"ahead{depth}", x.shape[-1])
            astern = layer("gru", f"astern{depth}", x.shape[-1], backwards=True)
            x = jnp.concatenate([ahead(x, *masks)[0], astern(x, *masks)[0]], -1)
        return dense(CLASSES, "head")(x)


class Decoder(nn.Module):
    """Two decoders start from what the encoder ends with, and again at every reset."""

    @nn.compact
    def __call__(self, tokens):
        masks = jnp.asarray(LENGTHS), jnp.asarray(RESETS)
        embed = nn.Embed(5, WIDTH, param_dtype=jnp.float64, name="embed")
        encoder = layer("lstm", "encoder", learn_initial_state=True)
        y, states = encoder(embed(tokens), masks[0])
        # held through the padding: the state after the last valid step
        final = jax.tree.map(lambda h: h[-1], states)
        start = final._replace(h=jnp.tanh(dense(WIDTH, "bridge")(final.h)))
        shifted = embed(jnp.roll(tokens, 1, 0))
        ahead, astern = layer("lstm", "ahead"), layer("gru", "astern", backwards=True)
        u, _ = ahead(shifted, *masks, initial_state=start)
        v, _ = astern(shifted, *masks, initial_state=final.c)
        return dense(CLASSES, "head")(jnp.concatenate([y, u, v], -1))


class Attention(nn.Module):
    """One recurrence twice; then steps see all others, and a start all examples."""

    @nn.compact
    def __call__(self, tokens):
        lengths = jnp.asarray(LENGTHS)
        x = nn.Embed(5, WIDTH, param_dtype=jnp.float64, name="embed")(tokens)
        twice = layer("elman", "first")
        x, _ = twice(twice(x, lengths)[0], lengths)
        q, k, v = (dense(WIDTH, name)(x) for name in "qkv")
        scores = jnp.einsum("tbi,sbi->tsb", q, k)
        scores = jnp.where(jnp.asarray(VALID)[None], scores, -30.0)
        y = jnp.einsum("tsb,sbi->tbi", jax.nn.softmax(scores, axis=1), v)
        mean = jnp.mean(x, axis=(0, 1))
        start = jnp.tanh(x[0] + mean[None])
        z, _ = layer("gru", "second")(y, lengths, initial_state=start)
        return dense(CLASSES, "head")(z)


class Chain(nn.Module):
    """Sigmoid networks: a decoder that starts from where an encoder ends."""

    dtype: Any

    @nn.compact
    def __call__(self, x):
        def sigmoid(name: str) -> Recurrent:
            kind: dict[str, Any] = {"activation": "sigmoid", "parent": None}
            cell = Elman(WIDTH, WIDTH, self.dtype, **kind)
            return Recurrent(cell, engine="plain", name=name)

        _, states = sigmoid("first")(x)
        y, _ = sigmoid("second")(x, initial_state=states[-1])
        return nn.Dense(CLASSES, param_dtype=self.dtype, name="head")(y[-1])
