"""What a measured number is: its axes, definition, units, and where it is computed."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Quantity:
    """The one declaration of a measured quantity.

    It gives a variable of a data set its axes and attributes, a row of a table its
    label, and the documentation its entry.

    Attributes:
        dims: names of its axes within one recurrence, or within the whole network; a
            data set may have others in front, such as the training step and the layer.
        definition: one sentence, with the source if there is one.
        units: such as `log10`, `steps`, `nats per step`, `1`.
        by: the function in `rnnjax.probes` that computes it.
        version: version of the definition; data sets with different versions are not
            joined.
        label: the words for it in a table for readers; if empty, no row of its own.
        digits: decimals in that table.
    """

    dims: tuple[str, ...]
    definition: str
    units: str = "1"
    by: str = ""
    version: int = 1
    label: str = ""
    digits: int = 3

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of a variable in a data set.

        >>> Quantity(("time",), "valid steps", "steps").attributes
        {'definition': 'valid steps', 'units': 'steps'}
        """
        version = {"version": self.version} if self.version > 1 else {}
        return {"definition": self.definition, "units": self.units, **version}
