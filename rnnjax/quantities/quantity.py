"""What a measured number is: axes, definition, units, and where it is computed."""

import dataclasses
from typing import Any


COORDINATES = {
    "train_step": "number of parameter updates made before the measurement",
    "layer": "recurrent layer and, if it walks backwards, its direction",
    "array": "state array, or all of them jointly",
    "time": "time step of the input, the first is 0",
    "lag": "steps between the last loss step and this one",
    "example": "example of the probed batch",
    "sentence": "the first examples of the probed batch, for quantities that cost more",
    "parameter": "parameter or effective kernel, as layer/name",
    "parameter_array": "array of the model's parameters, or all of them",
    "bound": "estimate, and the ends of its 95 % interval",
    "gradient_of": "parameter whose gradient it is, as layer/name, or all as one",
    "metric": "euclidean, or entries scaled as the optimizer does",
    "part": "signal, offset and noise in a gradient",
    "activation": "call of an activation within the cell",
    "gate": "gate of the cell",
    "unit": "unit of the layer",
    "bin": "bin of a histogram",
    "edge": "edge of a bin",
    "step": "step of the walk",
    "mode": "singular value or eigenvalue, the largest first",
    "lag_probed": "steps back from the last one",
    "exponent": "Lyapunov exponent, the largest first",
    "cut_lag": "lag at which the gradient is cut",
    "output_step": "step of the output, the first is 0",
    "input_step": "step of the input, the first is 0",
    "distance": "steps from an input to an output",
    "site": "product of a kernel with a state, as layer/name",
}
"""What is counted along each axis."""


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
