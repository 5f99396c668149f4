"""Everything that is measured, each declared once: `QUANTITIES`, by name.

A declaration gives the axes, definition, units and version of a quantity, and the
function of `rnnjax.probes` that computes it; data sets, tables and
``docs/quantities.md`` take them from here.
"""

from rnnjax.quantities.adjoints import ADJOINTS
from rnnjax.quantities.batch import BATCH
from rnnjax.quantities.contributions import CONTRIBUTIONS
from rnnjax.quantities.dynamics import DYNAMICS
from rnnjax.quantities.factors import FACTORS
from rnnjax.quantities.initialisation import INITIALISATION
from rnnjax.quantities.inputs import INPUTS
from rnnjax.quantities.interventions import INTERVENTIONS
from rnnjax.quantities.quantity import COORDINATES, Quantity
from rnnjax.quantities.signal import SIGNAL
from rnnjax.quantities.tokens import TOKENS
from rnnjax.quantities.updates import UPDATES


SUBJECTS = {
    "batch": BATCH,
    "adjoints": ADJOINTS,
    "contributions": CONTRIBUTIONS,
    "factors": FACTORS,
    "dynamics": DYNAMICS,
    "updates": UPDATES,
    "tokens": TOKENS,
    "inputs": INPUTS,
    "signal": SIGNAL,
    "interventions": INTERVENTIONS,
    "initialisation": INITIALISATION,
}
"""The quantities by subject."""

ALL = "all"
"""The label of all parameters, or all kernels, taken as one."""

QUANTITIES = {name: one for part in SUBJECTS.values() for name, one in part.items()}
"""Every quantity, by the name of its variable."""

__all__ = ["ALL", "COORDINATES", "QUANTITIES", "SUBJECTS", "Quantity"]
