"""Resets, directions and answers of our layers, against walks over the parts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.cells import GRU, LSTM, Elman
from rnnjax.models.sequence import SequenceModel
from rnnjax.recurrence.layer import Recurrent
from scripts.odd_inputs.case import TINY, add, case, expect


X = jax.random.normal(jax.random.key(3), (9, 2, 2))
STARTS = (0, 3, 7)


def _packed(**how: Any) -> None:
    """Documents behind one another, each marked at its first step."""
    layer: Any = Recurrent(GRU(2, 3), **how)
    marks = jnp.zeros(X.shape[:2], bool).at[jnp.array(STARTS)].set(True)
    variables = layer.init(jax.random.key(0), X)
    whole = layer.apply(variables, X, None, marks)[0]
    for first, last in zip(STARTS, (*STARTS[1:], len(X)), strict=True):
        alone = layer.apply(variables, X[first:last])[0]
        off = float(jnp.abs(whole[first:last] - alone).max())
        expect(off < 1e-5, f"document of steps {first} to {last - 1} is off by {off}")


for _name, _how in (
    ("documents in a row, forward", {}),
    ("documents in a row, backwards", {"backwards": True}),
    ("documents in a row, backwards in chunks", {"backwards": True, "remat": 2}),
    (
        "documents in a row, backwards by newton",
        {"backwards": True, "engine": "newton"},
    ),
):
    add(_name, lambda how=_how: _packed(**how), "may")


@case("never")
def one_answer_of_a_bidirectional_lstm() -> None:
    """Its backward half has read the whole sequence, so every word moves it."""
    model: Any = SequenceModel(
        LSTM(2, 3), output_size=2, input_size=2, bidirectional=True
    )
    lengths = jnp.array([9, 4])
    params = model.init(jax.random.key(0), X, lengths)["params"]

    def answer(x: Any, weights: Any) -> Any:
        return jnp.sum(model.apply({"params": weights}, x, lengths) ** 2)

    without = dict(params)
    without["stack_0_0"] = jax.tree.map(jnp.zeros_like, params["stack_0_0"])
    moved = np.abs(np.asarray(jax.grad(answer)(X, without))).sum(-1)
    expect((moved[:9, 0] > 0).all(), "words that the backward half has not read")
    expect((moved[:4, 1] > 0).all(), "words of a shorter sentence not read")
    expect((moved[4:, 1] == 0).all(), "padding was read")


def _sharded(*overrides: str) -> None:
    runs = [
        rnnjax.train(*TINY.split(), *overrides, f"shards={shards}", out="pool")
        for shards in (1, 2)
    ]
    one, two = (jax.tree.leaves(run.params) for run in runs)
    off = max(float(jnp.abs(a - b).max()) for a, b in zip(one, two, strict=True))
    expect(off < 1e-4, f"parameters differ by {off}")


add(
    "shards of a batch of 8 with 8 steps, vectors",
    lambda: _sharded("task=adding", "task.length=8", "batch=8", "lr=0.1"),
)
add(
    "shards of a batch of 22 with 22 steps, a loss at each",
    lambda: _sharded("task=copy", "task.delay=2", "batch=22", "lr=0.1"),
)


@case("never")
def the_place_of_epsilon_in_the_list_of_optimizers() -> None:
    """The first update of tiny gradients, by the place of epsilon in the list."""
    from scripts.odd_inputs.case import command

    said = " ".join(command("list optimizers").split())
    rule = said.partition("rmsprop")[2][:200]
    expect(
        "root" in rule or "sqrt" in rule or "√" in rule, "no word on epsilon's place"
    )


@case("never")
def shares_of_a_first_rmsprop_update() -> None:
    """P = 1/√(.1 G² + ε), as the optimizer makes it, from each step's own gradient."""
    layer: Any = Recurrent(Elman(2, 3))
    params = layer.init(jax.random.key(0), X)["params"]
    scale = 1e-4

    def model(params: Any, x: Any) -> Any:
        return layer.apply({"params": params}, x)[0][-1]

    def loss(y: Any) -> Any:
        return scale * jnp.sum(y**2, axis=-1)

    data = rnnjax.probe(model, params, X, loss, sections=("contributions",))
    v, u, b = (np.asarray(params["cell"][k], np.float64) for k in ("V", "U", "b"))
    states = [np.zeros((2, 3))]
    for x in np.asarray(X, np.float64):
        states.append(np.tanh(x @ v + states[-1] @ u + b))
    adjoint, each = scale * states[-1], []  # 2 h / (2 examples)
    for before, after in zip(states[-2::-1], states[:0:-1], strict=True):
        delta = adjoint * (1 - after**2)
        each.insert(0, before.T @ delta)
        adjoint = delta @ u.T
    total = np.sum(each, axis=0)
    factor = 1 / np.sqrt(0.1 * total**2 + 1e-8)
    update = factor * total
    want = [float((g * update).sum() / (total * update).sum()) for g in each]
    name = next(n for n in map(str, data.parameter.values) if n.endswith("/U"))
    got = data.preconditioned_share.sel(parameter=name).values
    off = float(np.abs(got - want).max())
    claimed = "rmsprop" in str(data.preconditioned_share.attrs).lower()
    expect(off < 2e-3 or not claimed, f"shares are off by {off:.3f}")
