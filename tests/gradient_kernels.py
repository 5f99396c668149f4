"""Recurrent kernels with hand-written gradients, right and wrong."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


N, M, B = 4, 3, 4


def leaky(params: Any, h0: Any, xs: Any, reset: Any) -> Any:
    """h = a ⊙ s + tanh(s U + x V + b), s: h, or 0 where the reset is set."""

    def step(h: Any, now: Any) -> Any:
        x, r = now
        s = jnp.where(r[:, None], 0.0, h)
        a = jnp.tanh(s @ params["U"] + x @ params["V"] + params["b"])
        h = params["a"] * s + a
        return h, h

    return lax.scan(step, h0, (xs, reset))


def leaky_args(seed: int, steps: int) -> Any:
    random = np.random.default_rng([seed, steps])
    draw = lambda *shape: random.standard_normal(shape).astype(np.float32)
    params = {
        "U": draw(N, N) / 2,
        "V": draw(M, N),
        "b": 0.1 * draw(N),
        "a": 0.5 + 0.1 * draw(N),
    }
    return params, draw(B, N) / 2, draw(steps, B, M), random.random((steps, B)) < 0.3


FAULTS = {
    # fault: (kind, the arguments that are wrong, the first wrong lag)
    "sign of b": ("sign", ("b",), None),
    "mean over the steps": ("factor", ("b",), None),
    "V transposed in the input's": ("missing product term", ("xs",), 0),
    "state after the step": ("off by one step", ("U",), None),
    "reset ignored": ("mask ignored", ("U", "V", "a", "b", "h0", "xs"), None),
    "final state": ("cotangent dropped", ("U", "V", "a", "b", "h0", "xs"), None),
    "no leak": ("missing product term", ("U", "V", "a", "b", "h0", "xs"), 1),
    "slope of another step": ("off by one step", ("U", "V", "a", "b", "h0", "xs"), 1),
    "cut every 4 steps": ("wrong at some lengths", ("U", "V", "a", "b", "h0", "xs"), 1),
    "a with the state after": ("off by one step", ("a",), None),
    "b over units": ("summed over the wrong axis", ("b",), None),
    "h0 dropped": ("dropped", ("h0",), None),
    "input one step late": ("off by one step", ("xs",), 0),
    "half precision": ("lost precision", ("U", "V", "a", "b", "h0", "xs"), 0),
    "a dropped": ("dropped", ("a",), None),
    "second order": ("wrong only in second order", (), None),
}
"""Kinds of mistakes in the gradient of `leaky`."""


def leaky_kernel(fault: str | None = None) -> Callable[..., Any]:
    """`leaky` with a gradient of its own, which may be wrong."""

    @jax.custom_vjp
    def kernel(params: Any, h0: Any, xs: Any, reset: Any) -> Any:
        return leaky(params, h0, xs, reset)

    def forward(params: Any, h0: Any, xs: Any, reset: Any) -> Any:
        out = leaky(params, h0, xs, reset)
        return out, (params, h0, xs, reset, out[1])

    def backward(kept: Any, cotangent: Any) -> Any:
        params, h0, xs, reset, hs = kept
        d_last, d_hs = cotangent
        steps = xs.shape[0]
        if fault == "final state":
            d_last = jnp.zeros_like(d_last)
        on = (
            ~reset[..., None]
            if fault != "reset ignored"
            else jnp.ones_like(reset)[..., None]
        )
        before = jnp.concatenate([h0[None], hs[:-1]])
        s = jnp.where(reset[..., None], 0.0, before)
        a = hs - params["a"] * s
        if fault == "second order":
            a = lax.stop_gradient(a)
        leak = 0.0 if fault == "no leak" else params["a"]

        other = jnp.roll(a, 1, axis=0) if fault == "slope of another step" else a
        index = jnp.arange(steps)[:, None, None]
        keeps = (index % 4 > 0) | (index == 0)
        on = on & keeps if fault == "cut every 4 steps" else on

        def step(carry: Any, now: Any) -> Any:
            a, other, d, on = now
            d = carry + d
            if fault == "half precision":
                d = d.astype(jnp.bfloat16).astype(d.dtype)
            delta = d * (1 - a * a)
            back = d * (1 - other * other)
            onwards = jnp.where(on, d * leak + back @ params["U"].T, 0.0)
            return onwards, (delta, d)

        along = a, other, d_hs, on
        d_h0, (deltas, ds) = lax.scan(step, d_last, along, reverse=True)
        left = (
            jnp.where(reset[..., None], 0.0, hs)
            if fault == "state after the step"
            else s
        )
        grads = {
            "U": jnp.einsum("tbi,tbj->ij", left, deltas),
            "V": jnp.einsum("tbi,tbj->ij", xs, deltas),
            "b": deltas.sum((0, 1)),
            "a": (ds * s).sum((0, 1)),
        }
        if fault == "sign of b":
            grads["b"] = -grads["b"]
        if fault == "mean over the steps":
            grads["b"] = grads["b"] / steps
        if fault == "a with the state after":
            grads["a"] = (ds * hs).sum((0, 1))
        if fault == "b over units":
            grads["b"] = deltas.sum((0, 2))
        if fault == "h0 dropped":
            d_h0 = jnp.zeros_like(d_h0)
        if fault == "a dropped":
            grads["a"] = jnp.zeros_like(grads["a"])
        d_xs = deltas @ params["V"].T
        if fault == "V transposed in the input's":
            d_xs = deltas @ jnp.roll(params["V"].T, 1, axis=1)
        if fault == "input one step late":
            d_xs = jnp.roll(d_xs, 1, axis=0)
        return grads, d_h0, d_xs, np.zeros(reset.shape, jax.dtypes.float0)

    kernel.defvjp(forward, backward)
    return kernel
