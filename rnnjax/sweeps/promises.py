"""How closely a run that is computed again must agree with its record.

The rules by which a run is judged:

- If libraries, device, processor and flags of JAX are the same as in the record, all
  bits must be equal (`EXACT`), whatever the pack, and whether it was resumed or not.
- Otherwise, and for packs whose runs were mapped side by side, numbers of the first few
  updates must agree within a tolerance (`promise`). Training is chaotic: a difference
  in the last bit grows until nothing agrees. Numbers of later steps are therefore
  compared, but differences there are not failures; the verdict says up to which step
  both runs agree. Final and best parameters, state and results belong to the last step.
- A missing or damaged file is always a failure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rnnjax.store.environment import DECIDING, Environment
from rnnjax.store.manifest import Manifest
from rnnjax.sweeps.differences import Difference


TOLERANCE = 2e-3
"""Tolerance for an array computed on another machine, relative to its largest number.
Golden runs are also compared with this tolerance."""

UPDATES = 20
"""Number of updates that must agree within `TOLERANCE`."""

UPDATES_IN_COMPANY = 12
"""Number of updates that must agree within `pack.TOLERANCE`, the tolerance of packs
whose runs are mapped side by side."""

COARSE = ("probes", "state")
"""Parts not covered by `pack.TOLERANCE`; `TOLERANCE` applies to them."""


@dataclass(frozen=True)
class Promise:
    """How closely a run must agree with its record.

    Attributes:
        tolerance: the largest difference, relative to the largest number of the array;
            0: no bit may differ. For `COARSE` parts it is at least `TOLERANCE`.
        updates: number of updates that must agree; None: all of them.
        reasons: why bits may differ; empty if they may not.
    """

    tolerance: float = 0.0
    updates: int | None = None
    reasons: tuple[str, ...] = ()

    def broken_by(self, one: Difference) -> bool:
        """Whether a difference is a failure."""
        early = self.updates is None or one.place.step <= self.updates
        return early and not self.allows(one)

    def allows(self, one: Difference) -> bool:
        """Whether a difference is within the tolerance, regardless of its step."""
        if not self.reasons:
            return False
        coarse = TOLERANCE if one.place.part in COARSE else 0.0
        return one.relative <= max(self.tolerance, coarse)

    def __str__(self) -> str:
        text = f"within {self.tolerance:g} of the largest number of each array"
        return text + (f" (probes {TOLERANCE:g})" if self.tolerance < TOLERANCE else "")


EXACT = Promise()


def promise(then: Manifest, here: Manifest) -> Promise:
    """How closely two computations of the same run must agree."""
    reasons = list(_elsewhere(then.environment, here.environment))
    tolerance, updates = (TOLERANCE, UPDATES) if reasons else (0.0, UPDATES)
    packs = [one.pack for one in (then, here) if one.pack and one.pack.tolerance]
    if packs:
        reasons.append("the runs of its pack were mapped side by side")
        allowed = [pack.tolerance for pack in packs if pack.tolerance]
        tolerance, updates = max(tolerance, *allowed), UPDATES_IN_COMPANY
    return Promise(tolerance, updates, tuple(reasons)) if reasons else EXACT


def _elsewhere(then: Environment, here: Environment) -> Iterator[str]:
    """What affects the last bits and differs between the two environments."""
    for name in DECIDING:
        was, now = then.versions.get(name), here.versions.get(name)
        if was != now:
            yield f"{name} {was} then, {now} here"
    if then.device != here.device:
        yield f"{then.device} then, {here.device} here"
    if then.processor is None:
        yield "the processor was not recorded"
    elif then.processor != here.processor:
        yield "different processors"
    if then.xla_flags != here.xla_flags:
        yield f"XLA_FLAGS '{then.xla_flags}' then, '{here.xla_flags}' here"
    if then.matmul_precision != here.matmul_precision:
        was, now = then.matmul_precision, here.matmul_precision
        yield f"precision of matrix products {was} then, {now} here"
