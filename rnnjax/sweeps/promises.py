"""How close a run that is computed again has to come to its record.

The rule by which a run is judged:

- Where the libraries, device, processor and flags of JAX are those of the record, all
  bits are equal (`EXACT`), whatever the pack, and whether it was resumed or not.
- Elsewhere, and for packs that were run side by side, numbers of the first few updates
  agree within a tolerance (`promise`). Training is chaotic: it carries a difference of
  the last bit on until nothing agrees any more. What is of a later step is therefore
  compared, but no failure; a verdict says how far both runs go together. Final and
  best parameters, state and results are of the last step.
- A file that is missing or damaged is a failure everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rnnjax.store.environment import DECIDING, Environment
from rnnjax.store.manifest import Manifest
from rnnjax.sweeps.differences import Difference


TOLERANCE = 2e-3
"""Of an array on another machine, relative to its largest number; golden runs are held
to it as well."""

UPDATES = 20
"""So many updates are held to `TOLERANCE`."""

UPDATES_IN_COMPANY = 12
"""So many are held to the tolerance of a pack side by side (`pack.TOLERANCE`)."""

COARSE = ("probes", "state")
"""Parts of which that tolerance says nothing: they are held to `TOLERANCE`."""


@dataclass(frozen=True)
class Promise:
    """How close a run has to come to its record.

    Attributes:
        tolerance: the largest difference, relative to the largest number of the array;
            0: no bit may differ. That of `COARSE` parts is `TOLERANCE` at least.
        updates: so many updates are held to it; None: all of them.
        reasons: why bits need not be equal.
    """

    tolerance: float = 0.0
    updates: int | None = None
    reasons: tuple[str, ...] = ()

    def broken_by(self, one: Difference) -> bool:
        """Whether a difference is a failure."""
        early = self.updates is None or one.place.step <= self.updates
        return early and not self.allows(one)

    def allows(self, one: Difference) -> bool:
        """Whether a difference is within the tolerance, at whatever step."""
        if not self.reasons:
            return False
        coarse = TOLERANCE if one.place.part in COARSE else 0.0
        return one.relative <= max(self.tolerance, coarse)

    def __str__(self) -> str:
        text = f"within {self.tolerance:g} of the largest number of each array"
        return text + (f" (probes {TOLERANCE:g})" if self.tolerance < TOLERANCE else "")


EXACT = Promise()


def promise(then: Manifest, here: Manifest) -> Promise:
    """How close two computations of a run have to come."""
    reasons = list(_elsewhere(then.environment, here.environment))
    tolerance, updates = (TOLERANCE, UPDATES) if reasons else (0.0, UPDATES)
    packs = [one.pack for one in (then, here) if one.pack and one.pack.tolerance]
    if packs:
        reasons.append("runs of its pack were computed side by side")
        allowed = [pack.tolerance for pack in packs if pack.tolerance]
        tolerance, updates = max(tolerance, *allowed), UPDATES_IN_COMPANY
    return Promise(tolerance, updates, tuple(reasons)) if reasons else EXACT


def _elsewhere(then: Environment, here: Environment) -> Iterator[str]:
    """What decides the last bits and is not what it was."""
    for name in DECIDING:
        was, now = then.versions.get(name), here.versions.get(name)
        if was != now:
            yield f"{name} {was} then, {now} here"
    if then.device != here.device:
        yield f"{then.device} then, {here.device} here"
    if then.processor is None:
        yield "its processor was not recorded"
    elif then.processor != here.processor:
        yield "another processor"
    if then.xla_flags != here.xla_flags:
        yield f"XLA_FLAGS '{then.xla_flags}' then, '{here.xla_flags}' here"
    if then.matmul_precision != here.matmul_precision:
        was, now = then.matmul_precision, here.matmul_precision
        yield f"precision of products {was} then, {now} here"
