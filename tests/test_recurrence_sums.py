"""Products that are only added to the drive are found, and no others."""

import jax
import jax.numpy as jnp
import pytest

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell, split_gates
from rnnjax.recurrence.functional import call, make_weights
from rnnjax.recurrence.sums import find_sums


class Twofold(Cell):
    """A cell with gates of twice its width; subclasses use the product as they like."""

    def setup(self):
        self.kernel("V", self.inputs, self.features, "glorot_uniform", gates=2)
        self.kernel("U", self.features, self.features, "glorot_uniform", gates=2)

    def readin(self, x):
        return self.project("V", x)


class Added(Twofold):
    def step(self, h, drive):
        a, b = split_gates(self.recur("U", h) + drive, 2)
        return jnp.tanh(a) * b


class ProductReadTwice(Twofold):
    def step(self, h, drive):
        product = self.recur("U", h)
        a, b = split_gates(product + drive, 2)
        return jnp.tanh(a) * b + jnp.sum(product, -1, keepdims=True)


class DriveReadTwice(Twofold):
    def step(self, h, drive):
        a, b = split_gates(self.recur("U", h) + drive, 2)
        return jnp.tanh(a) * b + jnp.sum(drive, -1, keepdims=True)


class Subtracted(Twofold):
    def step(self, h, drive):
        a, b = split_gates(drive - self.recur("U", h), 2)
        return jnp.tanh(a) * b


class AddedToItself(Twofold):
    def step(self, h, drive):
        product = self.recur("U", h)
        a, b = split_gates(product + product, 2)
        return jnp.tanh(a) * b + jnp.sum(drive, -1, keepdims=True)


def sums_of(cell):
    x, state = jnp.zeros((3, cell.inputs)), cell.initial_state((3,))
    params = cell.init(jax.random.key(0), state, x)["params"]
    static, weights = make_weights(cell, params)
    drive, _ = call(static, weights, "readin", x)
    return find_sums(static, weights, state, drive)


def test_a_product_that_is_only_added_to_the_drive_is_found():
    assert sums_of(Added(inputs=2, features=4)) == {"U": 0}


@pytest.mark.parametrize(
    "kind", [ProductReadTwice, DriveReadTwice, Subtracted, AddedToItself]
)
def test_any_other_use_of_the_product_or_of_the_drive_is_left_alone(kind):
    assert sums_of(kind(inputs=2, features=4)) == {}


@pytest.mark.parametrize(
    ("name", "found"), [("lstm", {"U": 0}), ("gru", {}), ("elman", {})]
)
def test_sums_of_common_cells(name, found):
    """A GRU multiplies a part of its product; that of Elman is as narrow as h."""
    assert sums_of(CELLS[name](inputs=2, features=4)) == found
