"""Mistakes that are recognised by what happens if an argument is changed.

If the error is gone once a matrix is symmetric, its transpose stands where the matrix
should; if it is gone where a mask never acts, the mask is ignored on the way back.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from rnnjax.checking.arguments import names_of
from rnnjax.checking.evidence import Change, Evidence, Mistake
from rnnjax.checking.pullbacks import ALL


def mask_ignored(of: Evidence) -> Iterator[Mistake]:
    """Right where a mask has one value at every step, and still acts on the rest."""
    pair = of.pair
    leaves = pair.arguments(of.seen.steps)
    names = names_of(pair.reference, pair.at.tree)
    for place in [*pair.at.flags, *_thresholded(of)]:
        is_flag = place in pair.at.flags
        ends = (False, True) if is_flag else (leaves[place].min(), leaves[place].max())
        for value in ends:
            if np.all(leaves[place] == value):
                continue
            held = _one_leaf(place, functools.partial(np.full_like, fill_value=value))
            after = {one.name: one for one in of.after(held).of(ALL)}
            acting = all(np.any(after[one.name].expected) for one in of.wrong)
            if not acting or any(one.wrong for one in after.values()):
                continue
            yield Mistake(
                "mask ignored",
                f"the gradient is right where {names[place]} is {value} at every "
                "step: this mask or reset is ignored, or used wrongly, on the way back",
            )
            return


def _thresholded(of: Evidence) -> Iterator[int]:
    """Sequences of floats without a gradient: masks that are compared with a number."""
    at = of.pair.at
    for one, place, time in zip(of.of(ALL), at.moving, at.times, strict=True):
        if time is not None and not np.any(one.expected) and not one.wrong:
            yield place


def _one_leaf(place: int, of: Callable[[Any], Any]) -> Change:
    """A change of one leaf of the arguments."""
    return lambda leaves: [of(x) if i == place else x for i, x in enumerate(leaves)]


def _of_a_neighbour(of: Evidence, lag: int) -> bool:
    """Whether all is right once the steps have the same Jacobian.

    They have if inputs stay the same, masks too, and small parameters let the state
    settle.
    """
    if of.seen.steps < SETTLES:
        return False
    at = of.pair.at
    times = dict(zip(at.moving, at.times, strict=True))

    def change(leaves: list[Any], value: bool) -> list[Any]:
        changed = list(leaves)
        for place in at.flags:
            changed[place] = np.full_like(leaves[place], value)
        for place, time in times.items():
            x = leaves[place]
            if time is not None:
                changed[place] = np.broadcast_to(x.take([0], time), x.shape)
            elif place not in at.state_leaves:
                changed[place] = (0.3 * x).astype(x.dtype)
        return changed

    for value in (False, True):
        after = of.after(functools.partial(change, value=value))
        if any(one.size[lag] > 0 for one in after.lags):
            return after.from_lag != lag
    return False


def recursion(of: Evidence) -> Iterator[Mistake]:
    """Right at lag 0 and wrong farther back: a factor of the recursion."""
    lag = of.from_lag
    if not lag:
        return
    start = f"the gradient is right up to lag {lag - 1} and wrong from lag {lag} on"
    for name, change in _symmetric(of):
        if not of.after(change).wrong:
            yield Mistake(
                "transposed",
                f"{start}, and right once {name} is symmetric: on the way back "
                f"{name} stands where its transpose should, or the reverse",
            )
            return
    for name, change in _real(of):
        after = of.after(change)
        acting = any(x.size[lag : lag + 1].sum() > 0 for x in after.lags)
        if acting and not after.wrong:
            yield Mistake(
                "conjugate missing",
                f"{start}, and right once {name} is {_REAL}: a complex factor stands "
                "where its conjugate should, or the reverse",
            )
            return
    if of.right_lag >= lag:
        yield Mistake(
            "wrong at some lengths",
            f"the gradient over {of.seen.steps} steps is wrong from lag {lag} on, and "
            f"that of another length right up to lag {of.right_lag}: look at how the "
            "sequence is cut, and at what one part hands to another",
        )
    elif lag == 2:
        yield Mistake(
            "order of the Jacobians",
            f"{start}: the Jacobians of the steps are multiplied in the wrong order, "
            "or taken from a neighbouring step",
        )
    elif lag == 1 and _of_a_neighbour(of, lag):
        yield Mistake(
            "off by one step",
            f"{start}, and right once the state has settled: the factor from one state "
            "to the one before is taken from a neighbouring step",
        )
    elif lag == 1:
        yield Mistake(
            "missing product term",
            f"{start}: the factor from one state to the one before is wrong, most "
            "likely for want of a term",
        )
    else:
        yield Mistake(
            "wrong from a lag on",
            f"{start}: look at what is handed over every {lag} steps",
        )


SETTLES = 9
"""Steps after which a state with small parameters has settled near the end."""

_REAL = "such that the factor is real"


def _symmetric(of: Evidence) -> Iterator[tuple[str, Change]]:
    """Changes that make one square matrix, or every block of a fused one, symmetric."""
    at = of.pair.at
    leaves = of.pair.arguments(of.seen.steps)
    for name, place, time in zip(at.names, at.moving, at.times, strict=True):
        shape = leaves[place].shape
        if time is not None or len(shape) != 2 or shape[0] < 2 or shape[1] % shape[0]:
            continue

        def even(x: Any) -> Any:
            blocks = np.split(x, x.shape[1] // x.shape[0], axis=1)
            return np.concatenate(
                [(b + b.T) / 2 for b in blocks], axis=1, dtype=x.dtype
            )

        yield name, _one_leaf(place, even)


def _real(of: Evidence) -> Iterator[tuple[str, Change]]:
    """Changes that may make a complex recurrence real: a leaf 0, or its real part."""
    at, pair = of.pair.at, of.pair
    leaves = pair.arguments(of.seen.steps)
    arguments = jax.tree.unflatten(at.tree, leaves)
    program = str(jax.make_jaxpr(pair.reference)(*arguments))
    # complex numbers may be written as pairs of real ones
    if not ("complex" in program or (" cos " in program and " sin " in program)):
        return
    for name, place, time in zip(at.names, at.moving, at.times, strict=True):
        if time is not None or place in at.state_leaves:
            continue
        if np.iscomplexobj(leaves[place]):
            yield name, _one_leaf(place, lambda x: np.real(x).astype(x.dtype))
            continue
        yield name, _one_leaf(place, np.zeros_like)
        # an angle may be the exponential of it
        yield name, _one_leaf(place, lambda x: np.full_like(x, -30))


def lost_precision(of: Evidence) -> Iterator[Mistake]:
    """An error that is small and changes with the last digits of the arguments."""
    wrong = of.wrong
    if not wrong or max(one.error for one in wrong) > 0.05:
        return

    def nudged(leaves: list[Any]) -> list[Any]:
        random = np.random.default_rng(0)
        moving = set(of.pair.at.moving)
        return [
            (x * (1 + 3e-3 * random.uniform(-1, 1, x.shape))).astype(x.dtype)
            if i in moving
            else x
            for i, x in enumerate(leaves)
        ]

    after = {one.name: one for one in of.after(nudged).of(ALL)}
    error = lambda x: (x.found - x.expected).ravel()
    one = np.concatenate([error(x) for x in wrong])
    two = np.concatenate([error(after[x.name]) for x in wrong])
    likeness = abs(np.vdot(one, two)) / (np.linalg.norm(one) * np.linalg.norm(two))
    if likeness < 0.9:
        worst = max(x.error for x in wrong)
        yield Mistake(
            "lost precision",
            f"the error of {worst:.1g} behaves like rounding, but is larger than the "
            "precision of the arguments explains: sums or states are kept in a lower "
            "precision, or large terms cancel",
        )
