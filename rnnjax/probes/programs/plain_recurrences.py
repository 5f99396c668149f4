"""Our own recurrences as ordinary loops of a traced program, with their names.

The default engine hides the state of a recurrence in a loop over buffers. Here every
call of a `Recurrent` runs `plain_scan` instead, which gives the same states, and leaves
its name and those of its state arrays at the equation.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.experimental.xla_metadata import set_xla_metadata

from rnnjax.probes.adjoints.norms import state_names
from rnnjax.probes.backward.walk import first_state
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.masking import at_end, finish, make_drive
from rnnjax.recurrence.scan import Taps, plain_scan


class Label(NamedTuple):
    """Whose loop it is.

    Attributes:
        path: of the module, such as `encoder/rnn`.
        arrays: names of its state arrays.
        backwards: whether its steps are in reversed order of time.
    """

    path: str
    arrays: tuple[str, ...]
    backwards: bool


@contextmanager
def plain_recurrences() -> Iterator[None]:
    """Whatever is traced meanwhile runs recurrences as ordinary loops."""

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if context.method_name != "__call__" or not isinstance(module, Recurrent):
            return call(*args, **kwargs)
        if module.is_initializing():
            return call(*args, **kwargs)
        return _plainly(module, *args, **kwargs)

    # keeps the traces of `nn.jit` apart from those made elsewhere
    with nn.intercept_methods(intercept), set_xla_metadata(rnnjax="intervene"):
        yield


def _plainly(
    module: Recurrent,
    x: Any,
    lengths: Any = None,
    resets: Any = None,
    initial_state: Any = None,
    last: bool = False,
) -> Any:
    cell, weights = module.weights()
    initial = initial_state
    if initial is None:
        initial = first_state(module, x.shape[1])
    drive = make_drive(cell, weights, x, lengths, resets, module.backwards)
    names = ",".join(state_names(initial)[1:])
    way = "<" if module.backwards else ">"
    with jax.named_scope(f"rnnjax[{'.'.join(module.path)}{way}{names}]"):
        states = plain_scan(cell, weights, initial, drive, Taps())
    found = finish(cell, weights, drive, states, module.backwards)
    return at_end(found, lengths, module.backwards) if last else found


def label_of(equation: Any) -> Label | None:
    """Whose loop an equation is; None: not of a `Recurrent`."""
    scope = str(equation.source_info.name_stack)
    found = re.search(r"rnnjax\[(.*?)([<>])(.*?)\]", scope)
    if found is None:
        return None
    path, way, arrays = found.groups()
    return Label(path.replace(".", "/"), tuple(arrays.split(",")), way == "<")
