"""Dropout between layers: which entries share a mask, and what is on average left."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.models.sequence import SequenceModel


T, B, N, RATE = 9, 40, 6, 0.25


def dropped(variational: bool, **fields: Any) -> np.ndarray:
    """What is left of ones, ``(T, B, n)``."""
    model = SequenceModel(
        CELLS["elman"](inputs=0, features=N),
        output_size=2,
        input_size=N,
        dropout=RATE,
        variational=variational,
        **fields,
    )
    variables = model.init(jax.random.key(0), jnp.ones((1, 1, N)))
    bound = model.bind(variables, rngs={"dropout": jax.random.key(3)})
    return np.asarray(bound.between(jnp.ones((T, B, N)), train=True))


@pytest.mark.parametrize("variational", [False, True])
def test_entries_are_dropped_and_the_others_scaled(variational: bool) -> None:
    found = dropped(variational)
    left = found != 0
    np.testing.assert_allclose(found[left], 1 / (1 - RATE), rtol=1e-6)
    count = B * N * (1 if variational else T)
    error = np.sqrt(RATE * (1 - RATE) / count)
    assert abs(left.mean() - (1 - RATE)) < 5 * error


def test_a_variational_mask_is_the_same_at_all_steps_of_an_example() -> None:
    mask = dropped(True) != 0
    assert np.array_equal(mask, np.broadcast_to(mask[:1], mask.shape))
    # not among examples, nor among units
    assert not np.array_equal(mask[0, 0], mask[0, 1])
    assert len({row.tobytes() for row in mask[0]}) > B / 4
    usual = dropped(False) != 0
    assert not np.array_equal(usual[0], usual[1])


def test_nothing_is_dropped_outside_training() -> None:
    model = SequenceModel(
        CELLS["elman"](inputs=0, features=N), output_size=2, input_size=N, dropout=RATE
    )
    variables = model.init(jax.random.key(0), jnp.ones((1, 1, N)))
    x = jnp.ones((T, B, N))
    np.testing.assert_array_equal(model.bind(variables).between(x), x)
