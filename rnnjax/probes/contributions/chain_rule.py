"""The chain rule of one weight, written out step by step for one sentence.

    ∂L/∂w = Σ_t δ_t v_t,   δ_t = φ′(z_t) · ∂h_T/∂h_t · ∂L/∂h_T,
    ∂h_T/∂h_t = ∂h_T/∂h_{T−1} ⋯ ∂h_{t+1}/∂h_t,   w ← w − η ∂L/∂w

v_t is the value that the weight multiplies at step t: an entry of h_{t−1} for U, of x_t
for V. Computed on the host in float64, for a table that a student can check by hand.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.errors import unknown
from rnnjax.executables.functions import kept_jit
from rnnjax.probes.backward.walk import Use, Walk, Walked, in_order
from rnnjax.probes.contributions.chain_table import ChainRule
from rnnjax.probes.dynamics.jacobian import jacobians
from rnnjax.probes.dynamics.joint_state import join, select
from rnnjax.probes.factors.slope_times_weight import two_factors
from rnnjax.probes.factors.slopes import preactivations, valid_steps
from rnnjax.recurrence.functional import call, step_seams
from rnnjax.recurrence.step import first


def chain_rule(
    walk: Walk,
    kernel: str,
    index: tuple[int, ...],
    *,
    example: int = 0,
    rate: float = 0.1,
    words: Sequence[str] | None = None,
) -> ChainRule:
    """Write out the gradient of one entry of one kernel for one example.

    Costs the Jacobians of one example: O(T N²) memory and O(T N³) time for a joint
    state of N real numbers.

    Args:
        walk: the walk of a lagged adjoint (`trace(…, lag="last")`). With a loss at
            several steps, or in a lower layer, the terms and their sum are still
            correct, but ∂L/∂h_t is more than `product` times ∂L/∂h_T. In a batch the
            examples are weighted, so the sum is the example's part of the batch
            gradient, which is the whole gradient for a batch of one.
        kernel: name of the effective kernel within the layer.
        index: index into the kernel as stored, ``(in, out)``: the entry U_ji of ``U h``
            is ``(i, j)``; ``(i,)`` for a diagonal kernel, ``(block, in, out)`` for a
            block kernel.
        example: index of the example.
        rate: learning rate η of the update shown.
        words: labels of the steps, in the order of the sentence.

    Raises:
        UserError: no kernel of this name.
        ValueError: `index` is out of range or of the wrong length, or the kernel or the
            values that it multiplies are complex.

    >>> import jax.numpy as jnp
    >>> from rnnjax.cells import Elman
    >>> from rnnjax.probes.backward.walk import walk_back, walk_forward
    >>> from rnnjax.recurrence import scaled
    >>> from rnnjax.recurrence.functional import make_weights
    >>> numbers = {"U": [[2.0]], "V": [[1.0]], "b": [-1.0]}
    >>> params = {name: jnp.array(x) for name, x in numbers.items()}
    >>> cell, weights = make_weights(Elman(1, 1, activation="sigmoid"), params)
    >>> x, start = jnp.array([[[1.0]], [[0.0]], [[0.0]]]), jnp.zeros((1, 1))
    >>> walked, h = walk_forward(cell, weights, "layer0", x, start)
    >>> last = jnp.zeros_like(h).at[-1].set(1.0)  # L = h_T
    >>> walk = walk_back(walked, scaled.lift((last, jnp.zeros_like(h)), 2)).walk
    >>> print(chain_rule(walk, "U", (0, 0), words=["not", "a", "film"]).text())
    step  word  value  z    h  slope  factor  product  adjoint   delta    term
       0   not      0  0  0.5   0.25     0.5     0.25     0.25  0.0625       0
       1     a    0.5  0  0.5   0.25     0.5      0.5      0.5   0.125  0.0625
       2  film    0.5  0  0.5   0.25     0.5        1        1    0.25   0.125
    sum of terms = dL/dU[0, 0] = 0.1875
    U[0, 0] <- 2 - 0.1 * 0.1875 = 1.98125  (plain gradient descent)
    """
    if kernel not in walk.kernels:
        raise unknown("kernel", kernel, walk.kernels)
    matrix = np.asarray(walk.kernels[kernel])
    if len(index) != matrix.ndim or not all(map(_within, index, matrix.shape)):
        raise ValueError(f"no entry {index} in {kernel}, whose shape is {matrix.shape}")
    if np.iscomplexobj(matrix):
        raise ValueError(f"{kernel} is complex; the table needs real weights")
    walked = walk.forward
    kept = np.flatnonzero(np.asarray(valid_steps(walked))[:, example])
    steps = len(walked.inputs) - 1 - kept if walked.backwards else kept
    value, delta, term = np.zeros((3, len(kept)))
    for use in walk.uses:
        if use.kernel == kernel:
            value, delta = _met(use, example, steps, index, matrix.shape)
            term = term + value * delta
    one = select(walked, [example])
    jacobian = np.asarray(_jacobians(one), np.float64)[kept, 0]
    single = jacobian.shape[-1] == 1
    adjoint = _adjoint(walk, example, steps)
    product, log10_product = _products(jacobian, np.any(adjoint != 0, axis=-1))
    unit = _unit(index, matrix.shape)
    z, slope = _activation(one, kept, kernel, unit)
    slope_factor, weight_factor = _split(walk, example, steps)
    shown = jax.tree.leaves(walk.states)[0]
    gradient, old = float(np.sum(term)), float(matrix[index])
    return ChainRule(
        weight=f"{kernel}[{', '.join(map(str, index))}]",
        step=steps,
        word=tuple("" if words is None else words[int(t)] for t in steps),
        value=value,
        z=z,
        h=np.asarray(shown[steps, example, unit % shown.shape[-1]].real, np.float64),
        slope=slope,
        factor=jacobian[:, 0, 0] if single else _spectral_norm(jacobian),
        slope_factor=slope_factor,
        weight_factor=weight_factor,
        product=product,
        log10_product=log10_product,
        adjoint=adjoint[:, 0] if single else np.linalg.norm(adjoint, axis=-1),
        delta=delta,
        term=term,
        gradient=gradient,
        old=old,
        new=old - rate * gradient,
        rate=rate,
    )


_jacobians = kept_jit(jacobians)
_preactivations = kept_jit(preactivations)
_two_factors = kept_jit(two_factors)


def _spectral_norm(matrices: np.ndarray) -> np.ndarray:
    """‖·‖₂ of matrices ``(*stack, N, N)``; NaN for one that is not finite."""
    sound = np.all(np.isfinite(matrices), axis=(-2, -1))
    usable = np.where(sound[..., None, None], matrices, 0.0)
    return np.where(sound, np.linalg.norm(usable, 2, (-2, -1)), np.nan)


def _within(place: int, size: int) -> bool:
    return 0 <= place < size


def _unit(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """The entry of the product's output to which the weight contributes."""
    return index[0] * shape[2] + index[2] if len(index) == 3 else index[-1]


def _met(
    use: Use, example: int, steps: np.ndarray, index: tuple[int, ...], shape: Any
) -> tuple[np.ndarray, np.ndarray]:
    """v_t and δ_t of one entry, ``(steps,)``."""
    entered = index[0] * shape[1] + index[1] if len(index) == 3 else index[0]
    value = np.asarray(use.value)[steps, example, entered]
    mantissa = np.asarray(use.delta.mantissa)[steps, example, _unit(index, shape)]
    if np.iscomplexobj(value) or np.iscomplexobj(mantissa):
        raise ValueError(
            f"{use.kernel} multiplies complex numbers; the table needs real ones"
        )
    exponent = np.asarray(use.delta.exponent)[steps, example]
    return value.astype(np.float64), np.ldexp(mantissa.astype(np.float64), exponent)


def _adjoint(walk: Walk, example: int, steps: np.ndarray) -> np.ndarray:
    """∂L/∂h_t of the joint state, ``(steps, N)``."""
    # JAX's cotangent of x + iy is ∂L/∂x − i ∂L/∂y
    mantissa = join(jax.tree.map(jnp.conj, walk.adjoint.mantissa))
    exponent = np.asarray(walk.adjoint.exponent)[steps, example]
    return np.ldexp(np.asarray(mantissa, np.float64)[steps, example], exponent[:, None])


def _products(
    jacobian: np.ndarray, reached: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """∂h_T/∂h_t for every t up to T, the last step reached, and log10 of its size."""
    steps, n = jacobian.shape[:2]
    product, logs = np.full((2, steps), np.nan)
    if not np.any(reached):
        return product, logs
    last = int(np.flatnonzero(reached)[-1])
    running, log = np.eye(n), 0.0
    for t in range(last, -1, -1):
        if t < last:
            running = running @ jacobian[t + 1]
        size = float(_spectral_norm(running))
        if size == 0:
            product[: t + 1], logs[: t + 1] = 0.0, -np.inf
            break
        # normalise; the logarithm of the size is kept separately
        running, log = running / size, log + np.log10(size)
        sign = running[0, 0] if n == 1 else 1.0
        product[t], logs[t] = sign * 10.0**log, log
    return product, logs


def _activation(
    one: Walked, kept: np.ndarray, kernel: str, unit: int
) -> tuple[np.ndarray, np.ndarray]:
    """z_t and φ′(z_t) of a unit if its cell has a single activation φ, else NaN."""
    cell, weights, drive = one.cell, one.weights, one.drive.values
    into = jax.eval_shape(lambda x: call(cell, weights, "readin", x)[1], one.inputs)
    inside = step_seams(cell, weights, one.initial, first(drive))
    seams = [*into.values(), *inside.values()]
    wide = [s.output.shape[-1] for s in seams if s.kernel == kernel]
    found = _preactivations(one)
    if len(found) != 1 or wide[:1] != [found[0].z.shape[-1]]:
        return np.full(len(kept), np.nan), np.full(len(kept), np.nan)
    z, slope = in_order((found[0].z, found[0].slope), one.backwards)
    pick = lambda x: np.asarray(x, np.float64)[kept, 0, unit]
    return pick(z), pick(slope)


def _split(
    walk: Walk, example: int, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    try:
        split = _two_factors(walk)
    except ValueError:
        nothing = np.full(len(steps), np.nan)
        return nothing, nothing
    slope = np.asarray(split.slope, np.float64)[steps, example]
    weight = np.asarray(split.weight, np.float64)[steps, example]
    return 10.0**slope, 10.0**weight
