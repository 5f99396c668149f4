"""Products that a step only adds to its drive, as an LSTM does in U h + (V x + b).

Such a step depends on the sum alone. The forward scan writes the sum in the place of
the drive, and the reverse scan needs neither the drive nor the product.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.extend.core import Literal
from jaxtyping import Array

from rnnjax.cells.base import Cell
from rnnjax.recurrence.functional import (
    Seams,
    Weights,
    by_shapes,
    call,
    step_seams,
    variables_read,
)
from rnnjax.types import State


Sums = Mapping[str, int]
"""The seams whose product is only added to the drive: site → leaf of the drive."""


@struct.dataclass
class Known:
    """What the reverse scan need not compute again.

    Attributes:
        outputs: of each seam the product ``(T, B, ·)`` or, if it is one of `sums`, its
            sum with the drive; by site.
        sums: the items of `Sums`.
    """

    outputs: Mapping[str, Array]
    sums: tuple[tuple[str, int], ...] = struct.field(pytree_node=False)


@by_shapes
def find_sums(cell: Cell, weights: Weights, state: State, drive: Any) -> Sums:
    """Find these seams by tracing a step once.

    The product and the leaf of the drive have the same shape and dtype, and neither is
    used anywhere but in this one addition. Products that are not wider than the state
    are left out, since `piped_scan` writes only wide arrays in place.
    """
    width = max(x.shape[-1] for x in jax.tree.leaves(state))
    seams = step_seams(cell, weights, state, drive)
    products = {
        site: x.output
        for site, x in seams.items()
        if x.form != "diagonal" and x.output.shape[-1] > width
    }
    if not products:
        return {}
    leaves, treedef = jax.tree.flatten(drive)

    def run(products: Any, leaves: list[Any], weights: Weights, state: State) -> State:
        values = treedef.unflatten(leaves)
        return call(cell, weights, "step", state, values, held=products)[0]

    jaxpr = jax.make_jaxpr(run)(products, leaves, weights, state).jaxpr
    uses = Counter(variables_read(jaxpr))
    entering = [*sorted(products), *range(len(leaves))]
    once = {
        var: name
        for var, name in zip(jaxpr.invars, entering, strict=False)
        if uses[var] == 1
    }
    found: dict[str, int] = {}
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "add":
            names = [once.get(v) for v in eqn.invars if not isinstance(v, Literal)]
            sites = [name for name in names if isinstance(name, str)]
            places = [name for name in names if isinstance(name, int)]
            if sites and places and products[sites[0]].dtype == leaves[places[0]].dtype:
                found[sites[0]] = places[0]
    return found


def known_outputs(seams: Seams, sums: Sums, drive: Any) -> dict[str, Array]:
    """What the reverse scan needs from a step: the products, or their sums.

    Elementwise products are left out: they are cheaper to recompute than to store.
    """
    leaves = jax.tree.leaves(drive)
    return {
        site: leaves[sums[site]] + x.output if site in sums else x.output
        for site, x in seams.items()
        if x.form != "diagonal"
    }


def without_summed(drive: Any, known: Known | None) -> Any:
    """The drive with zeros where the sum is known."""
    leaves, treedef = jax.tree.flatten(drive)
    for _, leaf in () if known is None else known.sums:
        leaves[leaf] = jnp.zeros_like(leaves[leaf])
    return treedef.unflatten(leaves)
