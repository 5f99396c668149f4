"""The direction of an optimizer's first update, P G with a diagonal P."""

import dataclasses

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


@dataclasses.dataclass(frozen=True)
class FirstUpdate:
    """P = 1 / (√(|G|² + root²) + beside) for each entry, or P = 1 if `plain`.

    Attributes:
        formula: P as the optimizer defines it, which may differ by a constant factor.
        root: the term whose square is added to |G|² under the root.
        beside: the term added to the root.
        plain: whether the update is the gradient itself (P = 1).
    """

    formula: str = "1 / |G|"
    root: float = 0.0
    beside: float = 0.0
    plain: bool = False

    def direction(self, total: Scaled) -> Scaled:
        """P G, up to a constant factor, for the gradient G of one array.

        The real and imaginary parts of a complex gradient are treated as separate
        numbers. G may be far outside the range of floating point.
        """
        if self.plain:
            return total
        mantissa, exponent = total.mantissa, total.exponent
        if jnp.iscomplexobj(mantissa):
            parts = self._of(mantissa.real, exponent), self._of(mantissa.imag, exponent)
            return scaled.normalise(Scaled(lax.complex(*parts), exponent))
        return scaled.normalise(Scaled(self._of(mantissa, exponent), exponent))

    def _of(self, g: Array, exponent: Array) -> Array:
        if not (self.root or self.beside):
            return jnp.sign(g)
        # scale both terms by the power of two with which neither overflows
        small = scaled.power_of_two(jnp.minimum(exponent, 0), g.dtype)
        large = scaled.power_of_two(-jnp.maximum(exponent, 0), g.dtype)
        size = jnp.hypot(g * small, jnp.full_like(g, self.root) * large)
        below = size + self.beside * large
        return g / jnp.where(below > 0, below, 1.0)


SIGN = FirstUpdate()
"""P = 1 / |G|: a rule that divides by a running average of |G|, at its first update.

The average starts at this update, and ε is 0."""
