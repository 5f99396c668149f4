"""Products that are only added to the drive are found, and no others."""

import jax
import jax.numpy as jnp
import pytest

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell, split_gates
from rnnjax.recurrence.functional import call, make_weights
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.sums import find_sums


def gated(use):
    """A cell with gates of twice its width; `use` gives its gates, and what is added.

    Its arguments are the product and the drive.
    """

    class Twofold(Cell):
        def setup(self):
            self.kernel("V", self.inputs, self.features, "glorot_uniform", gates=2)
            self.kernel("U", self.features, self.features, "glorot_uniform", gates=2)

        def readin(self, x):
            return self.project("V", x)

        def step(self, h, drive):
            gates, more = use(self.recur("U", h), drive)
            a, b = split_gates(gates, 2)
            return jnp.tanh(a) * b + more

    return Twofold(inputs=2, features=4)


def total(x):
    return jnp.sum(x, -1, keepdims=True)


def sums_of(cell):
    x, state = jnp.zeros((3, cell.inputs)), cell.initial_state((3,))
    params = cell.init(jax.random.key(0), state, x)["params"]
    static, weights = make_weights(cell, params)
    drive, _ = call(static, weights, "readin", x)
    return find_sums(static, weights, state, drive)


def test_a_product_that_is_only_added_to_the_drive_is_found():
    assert sums_of(gated(lambda product, drive: (product + drive, 0.0))) == {"U": 0}


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda u, d: (u + d, total(u)), id="product read twice"),
        pytest.param(lambda u, d: (u + d, total(d)), id="drive read twice"),
        pytest.param(lambda u, d: (d - u, 0.0), id="product subtracted"),
        pytest.param(lambda u, d: (u + u, total(d)), id="product added to itself"),
    ],
)
def test_any_other_use_of_the_product_or_of_the_drive_is_left_alone(use):
    assert sums_of(gated(use)) == {}


@pytest.mark.parametrize(
    ("name", "found"), [("lstm", {"U": 0}), ("gru", {}), ("elman", {})]
)
def test_sums_of_common_cells(name, found):
    """A GRU multiplies a part of its product; that of Elman is as narrow as h."""
    assert sums_of(CELLS[name](inputs=2, features=4)) == found


ON = {"there": False}


class Switched(Cell):
    """A user's cell, whose step depends on something that changes."""

    def setup(self):
        self.kernel("U", self.features, self.features, "orthogonal")
        self.kernel("W", self.features, self.features, "orthogonal")

    def step(self, h, drive):
        more = self.recur("W", h) if ON["there"] else 0.0
        return jnp.tanh(drive + self.recur("U", h) + more)


@pytest.mark.parametrize("there", [False, True, False])
def test_a_cell_of_a_users_is_traced_each_time(there, monkeypatch):
    monkeypatch.setitem(ON, "there", there)
    cell = Switched(inputs=4, features=4)
    x = jax.random.normal(jax.random.key(0), (3, 2, 4))
    found = []
    for engine in ("scan", "plain"):
        layer = Recurrent(cell, engine=engine)
        params = layer.init(jax.random.key(1), x)
        found.append(jax.grad(lambda p, own=layer: own.apply(p, x)[0].sum())(params))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        assert jnp.allclose(a, b, rtol=1e-4, atol=1e-6)
