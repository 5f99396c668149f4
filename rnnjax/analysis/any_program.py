"""Probe any JAX function that gives a loss: every loop in it is measured."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from rnnjax.analysis.datasets import record
from rnnjax.analysis.loop_quantities import (
    adjoints_of,
    contributions_of,
    dynamics_of,
    gradients_of,
)
from rnnjax.analysis.program_agreement import (
    bypass_share,
    compare,
    doubts,
    no_loop,
)
from rnnjax.errors import UserError, did_you_mean
from rnnjax.probes.dataset import lag_is_time
from rnnjax.probes.programs.arguments import arguments_of
from rnnjax.probes.programs.attribution import Reached, reached_by
from rnnjax.probes.programs.examples import find_axes
from rnnjax.probes.programs.loop_run import Axes, Ran, floats
from rnnjax.probes.programs.loops import describe
from rnnjax.probes.programs.program import program_of
from rnnjax.probes.programs.whole import Walks, walk
from rnnjax.xla_options import ONCE


SECTIONS = ("adjoints", "contributions", "dynamics")
"""Groups of quantities; see `probe_loss`."""

quick_jit = functools.partial(jax.jit, compiler_options=dict(ONCE))


def probe_loss(
    loss: Callable[..., Any],
    *args: Any,
    params: int = 0,
    examples: int | None = None,
    unroll: Sequence[str] = (),
    sections: Sequence[str] = SECTIONS,
) -> xr.Dataset:
    """Adjoints of every loop of a function, and each step's share of the gradient.

    The function is traced and not changed. A loop is a `lax.scan`, a `fori_loop`, a
    `while_loop` outside of other loops, or a `lax.associative_scan`, which is measured
    as the fold that it computes; wherever `jit`, `vmap`, `remat`, a branch or a custom
    derivative has put it, forwards or in reverse. A loop inside another one is part of
    the outer one's step, unless that is unrolled. The loss and the gradients of all
    arguments, put together from the loops, are compared with those of JAX.

    Args:
        loss: returns one real number.
        args: its arguments.
        params: which of them holds the parameters.
        examples: number of examples in the batch, if several axes could be theirs.
        unroll: names of loops, such as ``["loop0"]``, whose inner loops are measured
            instead, for each of their steps.
        sections: some of `SECTIONS`. ``dynamics`` costs one cotangent a step for each
            float of the state, and is left out for more than 256 of them.

    Returns:
        A data set with a layer for each loop. Adjoints are those of the carry after a
        step, through later steps and through what that step computes from it. Those by
        lag, such as `log10_adjoint` and `decay`, are of what the loss
        reads of the states at the end of loops; `log10_total_adjoint` is of the whole
        loss. Contributions, of all parameters on which constants or inputs of a loop
        depend, in rows `loop0/path`, whose gradient is the part through these; each
        parameter has a row `path` as well, with its whole `log10_gradient`. Attribute
        ``loops``: file, line, length and carry of each.

    Warns:
        UserWarning: something else may carry the gradient from step to step, such as
            `cumsum`; part of the gradient at the inputs bypasses every loop; a parallel
            scan and its loop differ; a custom derivative rule around a loop is another
            derivative than the loop's, which is measured.

    Raises:
        UserError: there is no loop that carries a float, one cannot be reached, the
            loss is no real number, or the probe does not reproduce loss and gradient.
    """
    for name in sections:
        if name not in SECTIONS:
            raise UserError(f"no section '{name}'; {did_you_mean(name, SECTIONS)}")
    if not 0 <= params < len(args):
        raise UserError(f"params={params}, but the loss has {len(args)} arguments")
    given = arguments_of(args)
    program = program_of(loss, given, unroll)
    if not program.names:
        raise UserError(no_loop(program))
    ran = quick_jit(lambda arrays: program.forward(arrays)[1])(given.arrays)
    axes = [find_axes(one, examples) for one in ran]
    if examples is not None and not any(where.size == examples for where in axes):
        raise UserError(
            f"examples={examples}, but no loop treats so many examples apart: "
            f"{_listed(ran, axes)}"
        )
    named = given.names(params)
    wanted = [place for place in floats(given.arrays) if place in named]
    measured = [Reached() for _ in ran]
    if "contributions" in sections:
        measured = reached_by(program, given.arrays, ran, wanted)

    def passed(ends: bool) -> Walks:
        back = lambda arrays, ran: walk(
            program, arrays, ran, axes, () if ends else measured, ends
        )
        return quick_jit(back)(given.arrays, ran)

    seen = passed(False)
    lagged = seen if _is_single(seen, ran) else passed(True)
    agreed = compare(program, given, seen, ran)
    share = bypass_share(seen, given, set(named))
    for words in doubts(program, share, agreed):
        warnings.warn(words, stacklevel=2)
    data = _joined(seen, lagged, ran, axes, measured, named, sections)
    whole = dict(zip(floats(given.arrays), seen.gradient, strict=True))
    own = {path or "params": whole[k] for k, path in named.items() if k in whole}
    if own and "contributions" in sections:
        rows = [*data.parameter.values] if "parameter" in data.dims else []
        data = xr.merge([data, gradients_of(own)], join="outer", compat="no_conflicts")
        data = data.reindex(parameter=[*rows, *own])
    data = xr.merge([_basics(seen, ran, axes, share), data], join="outer")
    name = getattr(loss, "__name__", type(loss).__name__)
    data.attrs = {"title": f"gradient flow of {name}", "loops": _listed(ran, axes)}
    if agreed.parallel is not None:
        data.attrs["parallel_form"] = (
            f"gradients of the parallel form of associative scans differ by "
            f"{agreed.parallel:.1g} of their norm from those of the loops measured here"
        )
    return data


def _is_single(seen: Walks, ran: Sequence[Ran]) -> bool:
    """Whether the loss reads every loop at its end alone, or through a later one."""
    for walked, one in zip(seen.loops, ran, strict=True):
        direct = np.asarray(walked.direct)
        direct = direct[::-1] if one.loop.reverse else direct
        if direct[:-1].any():
            return False
    return True


def _basics(
    seen: Walks, ran: Sequence[Ran], axes: Sequence[Axes], share: float
) -> xr.Dataset:
    """The loss; steps, and which lags count from step 0, if all loops have the same."""
    values: dict[str, Any] = {"loss": seen.loss}
    if not np.isnan(share):
        values["bypass"] = share
    data = record(values)
    loops = [one.loop for one in ran]
    if len({loop.length for loop in loops}) == 1:
        steps = np.full(max(where.size for where in axes), loops[0].length)
        data = xr.merge([data, record({"length": steps, "last_step": steps - 1})])
    turned = [loop.name for loop in loops if loop.reverse]
    if turned:
        data["lag_is_time"] = lag_is_time([loop.name for loop in loops], turned)
    return data


def _joined(
    seen: Walks,
    lagged: Walks,
    ran: Sequence[Ran],
    axes: Sequence[Axes],
    measured: Sequence[Reached],
    named: dict[int, str],
    sections: Sequence[str],
) -> xr.Dataset:
    layers, rows = [], []
    for number, (one, where) in enumerate(zip(ran, axes, strict=True)):
        total = seen.loops[number].back
        made = [adjoints_of(one, lagged.loops[number].back, total, where)]
        if "dynamics" in sections:
            spectra = dynamics_of(one, where)
            made += [] if spectra is None else [spectra]
        layers.append(xr.merge(made))
        own = measured[number].params
        names = [f"{one.loop.name}/{named[place] or 'params'}" for place in own]
        if names:
            rows.append(contributions_of(total, names, one.loop.reverse))
    options: Any = {"join": "outer", "data_vars": "all", "combine_attrs": "override"}
    data: Any = xr.concat(layers, "layer", **options)
    names = np.asarray([one.loop.name for one in ran], object)
    data = data.assign_coords(layer=names)
    if rows:
        data = xr.merge(
            [data, xr.concat(rows, "parameter", join="outer")], join="outer"
        )
    return data


def _listed(ran: Sequence[Ran], axes: Sequence[Axes]) -> str:
    """A line for each loop, and one for each loop inside of it."""
    lines = []
    for one, where in zip(ran, axes, strict=True):
        shapes = ", ".join(f"{x.dtype} {x.shape}" for x in one.last)
        batch = f"{where.size} examples" if where.size > 1 else "one exponent a step"
        lines.append(f"{one.loop}, carry {shapes}, {batch}")
        lines += describe(one.loop)
    return "\n".join(lines)
