"""What the loss would be if the state at a step were another, and what λ says of it."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from rnnjax.analysis.called import called
from rnnjax.analysis.datasets import record
from rnnjax.analysis.intervened import Asked, Layer, chosen, layers_of, listed
from rnnjax.probes.adjoints.norms import JOINT
from rnnjax.probes.programs.arguments import arguments_of
from rnnjax.probes.programs.examples import find_axes
from rnnjax.probes.programs.interventions import EVERY, Effects, effects
from rnnjax.probes.programs.loop_run import Axes, Ran
from rnnjax.probes.programs.plain_recurrences import plain_recurrences
from rnnjax.probes.programs.replacements import check_how, replaced
from rnnjax.probes.programs.reruns import (
    Losses,
    adjoints_of,
    losses_of,
    states_of,
)
from rnnjax.xla_options import ONCE, SOMETIMES


WHOLE = "all"
"""As units: none alone, but each array as a whole."""

once_jit = functools.partial(jax.jit, compiler_options=dict(ONCE))


def intervene(
    model: Any,
    /,
    *args: Any,
    layer: str | None = None,
    array: str | None = None,
    at: int | Sequence[int] | None = None,
    units: int | Sequence[int] | str | None = None,
    how: str = "zero",
    value: Any = None,
    fraction: float = 1.0,
    seed: int = 0,
    examples: int | None = None,
    time_major: bool = True,
    names: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """How loss and output change if the state after one step is another.

    Called as `rnnjax.probe`: ``intervene(loss, *arguments)``, ``intervene(model,
    inputs, loss)``, ``intervene(model, params, inputs, loss)``. The program is run
    again with the changed state for every step and unit that is asked for: a finite
    change, where the adjoint is that of an infinitely small one. The first-order
    prediction ⟨∂L/∂h_t, Δh_t⟩ stands beside each effect. What a step computes from its
    new state, such as its output, changes with it, as for the adjoint.

    Args:
        model: a loss, or a model of linen, NNX or Equinox.
        args: as above. Losses may be a number, one for each example ``(B,)``, or for
            each step and example ``(T, B)``; the loss is their mean.
        layer: the loop: `loop0`, … as `rnnjax.probe` names it, or the path of a
            `Recurrent`; None: each of them.
        array: a state array, as in the data set of the probe, or `joint`, all at once;
            None: each of them.
        at: the step, or several, as indices of the loop's inputs; None: all.
        units: which entries of the state (of all axes but that of the examples) are
            changed, each alone; None: all of them; ``"all"``: only the whole array.
        how: ``zero``; ``mean``: the mean over the examples; ``swap``: the state of the
            example before; ``noise``: plus standard normal numbers times the standard
            deviation over the examples (`rnnjax.probes.programs.replacements`);
            ``value``: `value`.
        value: a number, or an array that broadcasts to ``(T, B, …)``, in order of time.
        fraction: how far the state is moved towards the other one: 1, all the way; for
            a small fraction the effect is what the adjoint predicts.
        seed: of the noise.
        examples: number of examples in the batch, if several axes could be theirs.
        time_major: whether losses of two axes are ``(T, B)`` or ``(B, T)``.
        names: names of layers, by path.

    Returns:
        A data set with dimensions layer, array, time, unit: `effect_loss`,
        `effect_loss_predicted`, `effect_output`, and for each example
        `effect_loss_example` and `effect_loss_example_predicted`, with their mean sizes
        `effect_loss_abs` and `effect_loss_predicted_abs`; the same of whole arrays,
        `whole_…`. An effect below `effect_rounding` is no more than the rounding of the
        program. Those of the output are left out for a loss, those of examples where
        losses or states do not show them. What was not asked for is NaN or left out.

    It costs one forward pass, from the loop on, for each step and unit.

    Raises:
        UserError: no such layer, array, step, unit or way; `how` needs examples that
            are not told apart; there is no loop, or one that cannot be reached.
    """
    check_how(how, value)
    whole = called("intervene", model, args)
    given = arguments_of(whole.args)
    with plain_recurrences():
        program = losses_of(whole.function, given, time_major)
    losses, ran = once_jit(program.forward)(given.arrays)
    layers = layers_of(program, ran, names or {})
    some = chosen(layers, layer, array)
    asked = Asked(array, at, units, (how, value, fraction, seed))
    likely = examples or (losses.shape or (None,))[-1 if time_major else 0]
    level = float(jnp.mean(jnp.abs(losses)))
    sets = [
        _effects(program, given.arrays, ran, one, asked, likely, level) for one in some
    ]
    options: Any = {"join": "outer", "data_vars": "all", "combine_attrs": "override"}
    data = xr.concat(sets, "layer", **options)
    data = data.assign_coords(layer=np.asarray([x.name for x in some], object))
    data = xr.merge([record({"loss": jnp.mean(losses)}), data])
    about = "\n".join(f"{one.name}: {one.ran.loop}" for one in some)
    data.attrs = {"title": f"interventions in {whole.name}", "loops": about, "how": how}
    return data


def _effects(
    program: Losses,
    arrays: list[Any],
    ran: list[Ran],
    layer: Layer,
    asked: Asked,
    likely: int | None,
    level: float,
) -> xr.Dataset:
    """The effects of all changes in one layer; `level`: mean size of the losses."""
    axes, number = find_axes(layer.ran, likely), layer.number
    states = states_of(layer.ran, axes)
    sizes = [int(np.prod(x.shape[2:])) for x in states]
    changed = asked.of(layer)
    times = listed("at", asked.at, layer.steps, layer.name)
    alone = [] if asked.units == WHOLE else [i for i in changed if i != EVERY]
    most = max((sizes[i] for i in alone), default=0)
    units = listed("units", asked.units, most, layer.name) if alone else []
    instead = [
        replaced(x, *asked.how, layer.backwards) if {i, EVERY} & set(changed) else x
        for i, x in enumerate(states)
    ]
    walked = np.arange(layer.steps)[:: -1 if layer.backwards else 1][times]
    rows = [(i, t, u) for i in alone for t in walked for u in units if u < sizes[i]]
    ends = len(rows)
    rows += [(i, t, EVERY) for i in changed for t in walked]
    inputs = arrays, ran, instead
    predict = lambda a, r, new: _predicted(program, a, r, number, axes, new)
    run = lambda a, r, new, rows: effects(program, a, r, number, axes, new, rows)
    said, spread = once_jit(predict)(*inputs)
    found = jax.jit(run, compiler_options=dict(SOMETIMES))(
        *inputs, np.array(rows, np.int32)
    )
    found, said = jax.device_get((found, [x[walked] for x in said]))
    of_arrays = [sum(said) if i == EVERY else said[i] for i in changed]
    whole = np.stack([np.sum(x, axis=-1) for x in of_arrays])
    first = jax.tree.map(lambda x: x[:ends], found)
    rest = jax.tree.map(lambda x: x[ends:], found)
    every = np.ones(whole.shape[:2], bool)
    words = lambda places: [JOINT if i == EVERY else layer.arrays[i] for i in places]
    steps: dict[str, Any] = {"time": times}
    rounding = float(jnp.finfo(found.loss.dtype).eps) * (level + float(spread))
    values = _values("whole_", rest, every, whole) | {"effect_rounding": rounding}
    data = record(values, steps | {"array": words(changed)})
    if not alone:
        return data
    each = np.full((len(alone), len(times), most, axes.size), np.nan)
    for row, i in enumerate(alone):
        each[row, :, : sizes[i]] = np.swapaxes(said[i], 1, 2)
    each = each[:, :, units]
    fits = np.array([[u < sizes[i] for u in units] for i in alone])
    there = np.repeat(fits[:, None], len(times), axis=1)
    values = _values("", first, there, each)
    labels = steps | {"array": words(alone), "unit": units}
    data = xr.merge([data, record(values, labels)], join="outer")
    return data.reindex(array=words(changed))  # joint first, as in a probe


def _values(
    prefix: str, found: Effects, there: np.ndarray, said: np.ndarray
) -> dict[str, np.ndarray]:
    """The variables: effects in the places that are there, and their predictions.

    Args:
        prefix: of the names.
        found: of the changes, in the order of the places.
        there: ``(A, T)`` or ``(A, T, U)``.
        said: predictions, with an axis of examples behind.
    """

    def laid_out(x: Any) -> np.ndarray:
        full = np.full((*there.shape, *x.shape[1:]), np.nan)
        full[there] = x
        return full

    own = bool(found.examples.size)
    each = found.examples if own else found.loss[..., None]
    total = said.mean(-1) if own else said.sum(-1)
    values = {
        "effect_loss": laid_out(found.loss),
        "effect_loss_abs": laid_out(np.abs(each).mean(-1)),
        "effect_loss_predicted": total,
        "effect_loss_predicted_abs": np.abs(said if own else total[..., None]).mean(-1),
    }
    if found.output.size:
        values["effect_output"] = laid_out(found.output)
    if own:
        values["effect_loss_example"] = laid_out(found.examples)
        values["effect_loss_example_predicted"] = said
    return {f"{prefix}{name}": x for name, x in values.items()}


def _predicted(
    program: Losses,
    arrays: list[Any],
    ran: list[Ran],
    number: int,
    axes: Axes,
    instead: list[Array],
) -> tuple[list[Float[Array, "T B U"]], Float[Array, ""]]:
    """Re(∂L/∂h · Δh) of each unit of each array, and how far rounding spreads.

    The second, times the precision, is the change of the loss if every state is rounded
    at random: the root of Σ |∂L/∂h · h|² over steps and units, mean over examples.
    """
    adjoints = adjoints_of(program, arrays, ran, number, axes)
    states = states_of(ran[number], axes)
    rows = list(zip(adjoints, instead, states, strict=True))
    found = [jnp.real(adjoint * (new - old)) for adjoint, new, old in rows]
    squares = [jnp.square(jnp.abs(adjoint * old)) for adjoint, _, old in rows]
    each = sum(jnp.sum(x, axis=(0, *range(2, x.ndim))) for x in squares)
    spread = jnp.mean(jnp.sqrt(each))
    return [x.reshape(*x.shape[:2], -1) for x in found], spread
