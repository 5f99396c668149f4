"""Which loops, arrays, steps and units an intervention is asked for."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnjax.errors import UserError, unknown
from rnnjax.probes.adjoints.norms import JOINT
from rnnjax.probes.programs.interventions import EVERY
from rnnjax.probes.programs.loop_run import Ran, floats
from rnnjax.probes.programs.loops import is_loop, top
from rnnjax.probes.programs.plain_recurrences import label_of
from rnnjax.probes.programs.reruns import Losses


@dataclasses.dataclass(frozen=True)
class Layer:
    """A loop of the program.

    Attributes:
        number: its place among the loops.
        name: `loop0`, … or that of a `Recurrent`.
        arrays: names of its float arrays.
        backwards: whether its steps are in reversed order of time.
        ran: the loop after its forward pass.
    """

    number: int
    name: str
    arrays: tuple[str, ...]
    backwards: bool
    ran: Ran

    @property
    def steps(self) -> int:
        return self.ran.loop.length


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is to be changed, as given to `intervene`.

    Attributes:
        array, at, units: where.
        how: name, value, fraction and seed of the replacement.
    """

    array: str | None
    at: Any
    units: Any
    how: tuple[str, Any, float, int]

    def of(self, layer: Layer) -> list[int]:
        """The places of the arrays that are changed, `EVERY` for all at once."""
        if self.array == JOINT:
            return [EVERY]
        if self.array is not None:
            return [layer.arrays.index(self.array)]
        several = len(layer.arrays) > 1
        return [*([EVERY] if several else []), *range(len(layer.arrays))]


def layers_of(
    program: Losses, ran: Sequence[Ran], names: Mapping[str, str]
) -> dict[str, Layer]:
    """The loops of the program by name.

    Raises:
        UserError: there is none.
    """
    found: dict[str, Layer] = {}
    for number, equation in enumerate(filter(is_loop, top(program.closed))):
        one, label = ran[number], label_of(equation)
        places = floats(one.last)
        arrays = tuple(f"carry{i}" for i in places) if places[1:] else ("carry",)
        name, backwards = one.loop.name, False
        if label is not None:
            arrays, backwards = label.arrays, label.backwards
            name = names.get(label.path, label.path)
            name = f"{name}, {one.loop.name}" if name in found else name
        found[name] = Layer(number, name, arrays, backwards, one)
    if not found:
        raise UserError(
            "no lax.scan with a state of floats was found: a loop that is written in "
            "Python over the steps cannot be told from layers; use lax.scan"
        )
    return found


def chosen(
    layers: Mapping[str, Layer], layer: str | None, array: str | None
) -> list[Layer]:
    """The layers that are changed."""
    if layer is not None and layer not in layers:
        raise unknown("layer", layer, layers)
    some = [one for name, one in layers.items() if layer in (None, name)]
    known = {JOINT, *(name for one in some for name in one.arrays)}
    if array is not None and array not in known:
        raise unknown("array", array, known)
    return [one for one in some if array in (None, JOINT, *one.arrays)]


def listed(key: str, asked: Any, count: int, layer: str) -> list[int]:
    """The steps or units that are asked for.

    Raises:
        UserError: the layer does not have them.
    """
    if asked is None:
        return list(range(count))
    every = np.atleast_1d(np.asarray(asked))
    if not every.size or not np.issubdtype(every.dtype, np.integer):
        raise UserError(f"{key}={asked!r} must be a whole number, or several")
    if every.min() < 0 or every.max() >= count:
        raise UserError(f"{key}={asked}: {layer} has 0 to {count - 1}")
    return list(dict.fromkeys(every.tolist()))
