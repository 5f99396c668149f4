"""Known mistakes in hand-written gradients, recognised by what they leave behind.

Some leave a pattern: an exact zero, a constant factor, a transposed array. Others are
found by `interventions`.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from rnnjax.checking.comparison import TINY, Difference
from rnnjax.checking.evidence import Evidence, Mistake
from rnnjax.checking.interventions import (
    lost_precision,
    mask_ignored,
    recursion,
)
from rnnjax.checking.pullbacks import ALL, FINAL, SEQUENCE, KernelFails


def mistakes(of: Evidence) -> list[Mistake]:
    """The mistakes that explain what is wrong; empty: nothing is."""
    for look in (
        lost_precision,
        _dropped,
        _one_cotangent,
        _truncated,
        _each_alone,
        mask_ignored,
        recursion,
        _columns,
    ):
        try:
            found = list(look(of))
        except KernelFails:  # with other arguments than those that were given
            continue
        if found:
            return found
    if of.wrong:
        listed = _listed([one.name for one in of.wrong])
        return [
            Mistake(
                "missing product term",
                f"the gradient of {listed} is wrong, also within a step, and not by a "
                "constant factor: compare the products of one step with the "
                "reference's, term by term",
            )
        ]
    return []


def _dropped(of: Evidence) -> Iterator[Mistake]:
    """Every wrong gradient is exactly zero, for whatever output, and others are not."""
    names = [one.name for one in of.wrong if not np.any(one.found)]
    if len(names) == len(of.wrong) and any(np.any(x.found) for x in of.of(ALL)):
        for name in names:
            said = f"the gradient of {name} is dropped: it is exactly 0"
            yield Mistake("dropped", said)


def _one_cotangent(of: Evidence) -> Iterator[Mistake]:
    final, sequence = (any(x.wrong for x in of.of(p)) for p in (FINAL, SEQUENCE))
    at = of.pair.at
    if final == sequence or None not in at.outputs or set(at.outputs) == {None}:
        return
    what, projection = ("final state", FINAL) if final else ("outputs", SEQUENCE)
    zero = all(not np.any(x.found) for x in of.of(projection))
    done = "dropped" if zero else "used wrongly"
    yield Mistake(
        f"cotangent {done}",
        f"the cotangent of the {what} is {done}; gradients of all else are right",
    )


def _truncated(of: Evidence) -> Iterator[Mistake]:
    for one in of.lags:
        if not one.zero.any():
            continue
        first = int(np.argmax(one.zero))
        if of.right_lag >= first:
            continue  # it reaches farther back in another sequence
        gone = one.zero | (one.size <= TINY)
        if first and gone[first:].all() and not one.wrong[:first].any():
            yield Mistake(
                "truncated",
                f"the gradient at {one.name} is exactly zero from lag {first} on: it "
                f"is truncated after {'one step' if first == 1 else f'{first} steps'}",
            )


def _each_alone(of: Evidence) -> Iterator[Mistake]:
    """Each wrong argument by a pattern of its own, if all of them have one."""
    found = [_alone(of, one) for one in of.wrong]
    if found and all(found):
        yield from {x.sentence: x for x in found if x}.values()


def _alone(of: Evidence, one: Difference) -> Mistake | None:
    name, found, expected = one.name, one.found, one.expected
    steps = of.seen.steps
    close = lambda a, b: np.linalg.norm(a - b) < 1e-2 * np.linalg.norm(b)
    factor = one.factor
    if factor is not None and abs(factor + 1) < 0.02:
        return Mistake("sign", f"the gradient of {name} has the wrong sign")
    if factor is not None and abs(factor - 1) > 0.02:
        mean = ": a mean over the steps instead of their sum"
        hint = mean if steps > 1 and abs(factor * steps - 1) < 0.02 else ""
        return Mistake(
            "factor", f"the gradient of {name} is {factor:.4g} times what it is{hint}"
        )
    square = found.ndim == 2 and found.shape[0] == found.shape[1]
    if square and close(found.T, expected) and not close(found, expected):
        return Mistake("transposed", f"the gradient of {name} is transposed")
    time = of.pair.at.times[of.pair.at.names.index(name)]
    if time is not None and steps > 3:
        a, b = np.moveaxis(found, time, 0), np.moveaxis(expected, time, 0)
        for here, there, words in (
            (a[1:], b[:-1], "that of the step before"),
            (a[:-1], b[1:], "that of the step after"),
        ):
            if close(here, there):
                return Mistake(
                    "off by one step", f"the gradient of {name} at a step is {words}"
                )
    is_state = of.pair.at.names.index(name) in of.pair.at.state
    if time is None and not is_state and of.at_one and of.from_lag is None:
        return Mistake(
            "summed over the wrong axis",
            f"the gradient of {name} is right for one step and wrong for more, while "
            "the others are right: not all steps enter its sum",
        )
    if time is None and of.at_one is False and _off_by_one(of, name):
        return Mistake(
            "off by one step",
            f"the gradient of {name} multiplies another state than the one before the "
            "step: from a state of zeros, that of one step is not zero",
        )
    total = abs(np.sum(found) - np.sum(expected))
    if found.ndim == 1 and total < 1e-4 * np.linalg.norm(expected):
        return Mistake(
            "summed over the wrong axis",
            f"the entries of the gradient of {name} have the right sum, and each is "
            "wrong: the sum keeps an axis that it should take, and takes another",
        )
    return None


def _off_by_one(of: Evidence, name: str) -> bool:
    """Whether a gradient is made from another state than that before the step.

    What multiplies the state before is zero after one step from a state of zeros.
    """
    at = of.pair.at
    if not at.state:
        return False
    place, rest = at.names.index(name), of.at_rest
    found, expected = (x.gradients[place][ALL] for x in (rest.kernel, rest.truth))
    return bool(np.any(found)) and not np.any(expected)


def _columns(of: Evidence) -> Iterator[Mistake]:
    """Columns of an argument, as of one gate, that are wrong while others are right."""
    for one in of.wrong:
        if one.columns.all():
            continue
        wide = np.reshape(one.found, (-1, one.columns.size))
        zero = not np.any(wide[:, one.columns])
        where = _ranges(np.flatnonzero(one.columns))
        what = "are exactly 0" if zero else "are wrong"
        yield Mistake(
            "missing product term",
            f"columns {where} of the gradient of {one.name} {what} while the others "
            "are right: the term of this gate is missing",
        )
        return
    for one in of.wrong:
        wide = np.reshape(one.found, (-1, one.columns.size))
        zero = np.flatnonzero(~np.any(wide, axis=0))
        if 0 < zero.size < one.columns.size:
            yield Mistake(
                "missing product term",
                f"columns {_ranges(zero)} of the gradient of {one.name} are exactly 0: "
                "the term of this gate is missing",
            )
            return


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _ranges(places: np.ndarray) -> str:
    """Numbers as ranges.

    >>> _ranges(np.array([0, 1, 2, 7]))
    '0–2, 7'
    """
    groups = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return ", ".join(f"{g[0]}–{g[-1]}" if len(g) > 1 else f"{g[0]}" for g in groups)
