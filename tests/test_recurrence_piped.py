"""The scan that reads ahead is `lax.scan`, values and derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rnnjax.recurrence.piped import piped_scan


def body(constants, carry, now, spent):
    value, flag = now
    (gates,) = spent
    a, b = jnp.split(gates, 2, axis=-1)
    state, total = carry
    state = jnp.where(flag, jnp.tanh(a) * state + b @ constants, state) + value
    return (state, total + jnp.sum(state)), (state, a)


def inputs(steps):
    r = np.random.default_rng(steps)
    gates, value = r.standard_normal((steps, 3, 4)), r.standard_normal((steps, 3, 2))
    flags = r.random((steps, 1, 1)) < 0.7
    return (
        r.standard_normal((2, 2)),
        (r.standard_normal((3, 2)), r.standard_normal()),
        (jnp.asarray(gates), jnp.asarray(value), jnp.asarray(flags)),
    )


def total(scan, constants, carry, gates, value, flags):
    (last, sums), (every, a) = scan(constants, carry, (value, flags), (gates,))
    return sums * jnp.vdot(last, last) + jnp.sum(jnp.sin(every)) + jnp.sum(a * a)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_values_and_derivatives_are_those_of_lax_scan(steps, reverse, x64):
    constants, carry, (gates, value, flags) = inputs(steps)

    def plain(constants, carry, inputs, spent):
        step = lambda carry, now: body(constants, carry, *now)
        return lax.scan(step, carry, (inputs, spent), reverse=reverse)

    ours = partial(total, partial(piped_scan, body, reverse))
    reference = partial(total, plain)
    arguments = constants, carry, gates, value

    @partial(jax.jit, static_argnums=0)
    def measures(function, arguments):
        function = partial(function, flags=flags)
        each = tuple(range(4))
        gradient = jax.grad(lambda a: function(*a))
        moved = jax.jvp(gradient, (arguments,), (arguments,))  # forward over reverse
        return jax.value_and_grad(function, each)(*arguments), moved

    call = lambda function: jax.tree.leaves(
        measures(lambda c, h, g, v, flags: function(c, h, g, v, flags), arguments)
    )
    for one, other in zip(call(ours), call(reference), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_arrays_that_are_written_in_place_keep_their_values_elsewhere(x64):
    constants, carry, (gates, value, flags) = inputs(5)

    def twofold(constants, carry, now, spent):
        carry, (state, a) = body(constants, carry, now, spent)
        return carry, (state, 2.0 * spent[0])

    @jax.jit
    def doubled(gates):
        out = piped_scan(twofold, False, constants, carry, (value, flags), (gates,))
        return out[1][1], gates

    double, same = doubled(gates)
    np.testing.assert_array_equal(double, 2.0 * gates)
    np.testing.assert_array_equal(same, gates)
