"""How far adjoints and contributions are from a reference; on the host."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rnnjax.probes.contributions.to_kernels import Contribution, Uses, contribution
from tests.recurrence_samples import quick_jit


@quick_jit
def one_contribution(kernel: Uses) -> Any:
    return contribution(kernel)


def contributions(found: tuple[Uses, ...]) -> Any:
    """By a program that kernels of one shape share, and so without their names."""

    def nameless(kernel: Uses) -> Uses:
        blank: dict[str, Any] = {"kernel": "", "recurrent": False}
        uses = (dataclasses.replace(use, **blank) for use in kernel.uses)
        return Uses(kernel.weight, tuple(uses), "")

    return jax.device_get({k.name: one_contribution(nameless(k)) for k in found})


def in_full(mantissa: Any, exponent: Any) -> np.ndarray:
    """mantissa · 2^exponent in double precision."""
    mantissa = np.asarray(mantissa)
    wide = mantissa.astype(np.result_type(mantissa.dtype, np.float64))
    return wide * np.ldexp(1.0, np.asarray(exponent))[..., None]


def norm(x: Any) -> Any:
    return np.linalg.norm(x, axis=-1)


def relative(off: np.ndarray, size: np.ndarray) -> float:
    """The largest ratio; what should be exactly zero must be."""
    assert np.all(np.isfinite(off)) and np.all(np.isfinite(size))
    assert np.all(off[size == 0] == 0), "not zero where it should be"
    return float(np.max(off[size > 0] / size[size > 0]))


def adjoint_sizes(adjoint: Any, expected: Any) -> tuple[np.ndarray, np.ndarray]:
    """‖λ_t − expected‖ and ‖expected‖ of the joint state and of each array.

    Both ``(1 + arrays, T, B)``; `adjoint` is a `Scaled`.
    """
    got = [in_full(x, adjoint.exponent) for x in jax.tree.leaves(adjoint.mantissa)]
    want = [np.asarray(x) for x in jax.tree.leaves(expected)]
    off = [a - b for a, b in zip(got, want, strict=True)]
    sizes = [
        np.stack([norm(np.concatenate(x, -1)), *map(norm, x)]) for x in (off, want)
    ]
    return sizes[0], sizes[1]


def share_errors(part: Contribution, expected: Any) -> dict[str, float]:
    """Errors of ‖G_t‖, of the signed shares, and of their sum; G_t is `expected`."""
    flat = np.reshape(expected, (len(expected), -1))
    total = flat.sum(0)
    size, signed = norm(flat), np.asarray(part.signed_share, np.float64)
    got = 10.0 ** np.asarray(part.log10_norm, np.float64)
    if not np.any(size):  # exactly zero: no step has a share of nothing
        assert np.all(got == 0) and np.all(np.isnan(signed))
        return {"G": 0.0}
    along = (flat.conj() @ total).real / norm(total) ** 2
    np.testing.assert_allclose(part.norm_share, size / size.sum(), atol=1e-5)
    assert np.all(np.isfinite(signed))
    return {
        "G": relative(np.abs(got - size), size),
        "signed": float(norm(signed - along) / norm(along)),
        "sum": float(abs(signed.sum() - 1.0)),
    }
