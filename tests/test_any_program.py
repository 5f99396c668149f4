"""Any JAX program: its loops against plain autodiff, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rnnjax.analysis.any_program import probe_loss
from rnnjax.probes.programs.loop_walk import floats
from rnnjax.probes.programs.loops import OPENED, as_loop, is_loop, refuse
from rnnjax.probes.programs.whole import program_of
from rnnjax.recurrence.jaxprs import play
from tests.foreign_models import MODELS


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield


def adjoint_norms(loss: Any, args: Any) -> list[np.ndarray]:
    """log10 ‖∂L/∂carry‖ of every loop by plain autodiff, all examples together.

    Zeros are added to the carry after each step, and to outputs that are the carry.
    """
    program, leaves = program_of(loss, args), jax.tree.leaves(args)
    loops = []

    def find(equation: Any, values: Any) -> Any:
        loops.append((equation, values))
        return equation.primitive.bind(*values, **equation.params)

    play(program.closed, leaves, is_loop, OPENED, find, refuse)
    taps = []
    for equation, values in loops:
        loop = as_loop(equation, 0)
        start = values[loop.constants :][: loop.carry]
        taps.append([jnp.zeros((loop.length, *start[i].shape)) for i in floats(start)])

    def tapped(taps: Any) -> Any:
        waiting = iter(taps)

        def at(equation: Any, values: Any) -> Any:
            loop = as_loop(equation, 0)
            constants, rest = values[: loop.constants], values[loop.constants :]
            places = floats(rest[: loop.carry])

            def step(carry: Any, now: Any) -> Any:
                x, tap = now
                out = list(loop.step(*constants, *carry, *x))
                for place, zero in zip(places, tap, strict=True):
                    out[place] = out[place] + zero
                for number, same in enumerate(loop.same):
                    if same is not None:
                        out[loop.carry + number] = out[same]
                return out[: loop.carry], out[loop.carry :]

            xs = (rest[loop.carry :], next(waiting))
            last, ys = lax.scan(
                step, rest[: loop.carry], xs, loop.length, reverse=loop.reverse
            )
            return [*last, *ys]

        return play(program.closed, leaves, is_loop, OPENED, at, refuse)[0]

    found = jax.grad(tapped)(taps)
    square = lambda x: np.sum(np.square(x), axis=tuple(range(1, x.ndim)))
    squares = [sum(square(x) for x in one) for one in found]
    with np.errstate(divide="ignore"):
        return [0.5 * np.log10(x) for x in squares]


@pytest.mark.parametrize("label", MODELS)
def test_adjoints_and_gradients_are_those_of_autodiff(label: str) -> None:
    """The gradient of the parameters is compared with JAX's within the probe."""
    loss, args = MODELS[label]()
    seen = probe_loss(loss, *args)
    expected = adjoint_norms(loss, args)
    assert len(expected) == seen.sizes["layer"]
    found = seen.log10_total_adjoint.values
    for rows, known in zip(found, expected, strict=True):
        rows = rows[: len(known), ~np.isnan(rows[0])]
        joint = 0.5 * np.log10(np.sum(10 ** (2 * rows), axis=1))
        np.testing.assert_allclose(joint, known, atol=2e-5)
    assert seen.attrs["loops"].count("foreign_models.py") == len(expected)
