"""How a claim is judged: by its evidence, so that no verdict exceeds what was run."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from rnnjax.reproduce.evidence import Estimate
from rnnjax.reproduce.figure import Claim, Compared, Figure, compare


Outcome = Literal[
    "theory",
    "reproduced",
    "reduced scale",
    "observed",
    "not reached",
    "inconclusive",
    "not observed",
    "contradicted",
    "undetermined setting",
    "not run",
]

MEANINGS: dict[Outcome, str] = {
    "theory": "agrees with what is derived here",
    "reproduced": (
        "the paper's own bound, in the paper's own setting: every line that matters of "
        "the table paper / here / same? says yes"
    ),
    "reduced scale": (
        "the paper's pattern holds, by its bound or by a threshold of ours, in a "
        "setting that differs (smaller, or changed); the differences are named beside "
        "it"
    ),
    "observed": (
        "a claim of our own holds; or, in the paper's own setting, a pattern by a "
        "threshold of our own; no paper is judged by it"
    ),
    "not reached": (
        "the budget, smaller than the paper's, ended first: more updates could still "
        "bring the claim about, or undo it"
    ),
    "inconclusive": (
        "the bound lies inside the interval; with too few runs it always does"
    ),
    "not observed": (
        "the claim fails, the whole interval being on the other side of the bound; but "
        "the setting differs from the paper's, or the bound is ours: nothing against "
        "the paper"
    ),
    "contradicted": (
        "the claim fails in the paper's own setting and by the paper's own bound, or "
        "against what is derived here"
    ),
    "undetermined setting": (
        "nothing is known to differ, but the paper does not say enough, or is quoted "
        "from memory; the column “holds” says what came out"
    ),
    "not run": "this preset cannot carry the claim",
}
"""The meaning of each outcome, in the order of the gallery."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim and its outcome.

    Attributes:
        sentence: the claim.
        outcome: see `MEANINGS`.
        value: the number; None if not run.
        interval: interval of the number, if it depends on runs; infinite if there are
            too few of them.
        bounds: the bounds within which it had to lie.
        source: source of the bounds.
        origin: who set the bounds, see `Claim`.
        runs: number of runs that the number is based on; 0: not based on runs.
        contradicts: the smallest deviation that would have contradicted the claim, in
            words.
        strict: whether the bounds themselves are excluded.
        holds: "yes", "no", or "open" if a bound is inside the interval.
        differs: lines of the setting that matter to the claim and differ from the
            paper's.
        unknown: lines that matter and that the paper does not state, or that are from
            memory.
    """

    sentence: str
    outcome: Outcome
    value: float | None
    interval: tuple[float, float] | None
    bounds: tuple[float, float]
    source: str
    origin: str = "ours"
    runs: int = 0
    contradicts: str = ""
    holds: str = ""
    strict: bool = False
    differs: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def judge(figure: Figure, preset: str, results: xr.Dataset) -> tuple[Verdict, ...]:
    """A verdict for every claim of a figure."""
    table = compare(figure.settings, figure.presets[preset].settings)
    return tuple(_judge(claim, preset, table, results) for claim in figure.claims)


def _judge(
    claim: Claim, preset: str, table: Sequence[Compared], results: xr.Dataset
) -> Verdict:
    bounds = (claim.low, claim.high)
    verdict = Verdict(
        claim.sentence,
        "not run",
        None,
        None,
        bounds,
        claim.source,
        claim.origin,
        strict=claim.strict,
    )
    if preset not in claim.presets:
        return verdict
    found = claim.number(results)
    concerns = [
        line
        for line in table
        if not line.harmless and (claim.settings is None or line.name in claim.settings)
    ]
    if claim.origin == "theory":
        concerns = []
    counted = isinstance(found, Estimate)
    estimate = found if counted else Estimate(float(found), float(found), float(found))
    return dataclasses.replace(
        verdict,
        outcome=_outcome(claim, estimate, concerns, own=not table),
        value=estimate.value,
        interval=(estimate.low, estimate.high) if counted else None,
        runs=estimate.runs,
        contradicts=estimate.contradicts(*bounds) if counted else "",
        holds=_holds(claim, estimate),
        differs=tuple(line.name for line in concerns if _differs(line)),
        unknown=tuple(line.name for line in concerns if line.known != "stated"),
    )


def _outcome(
    claim: Claim, found: Estimate, concerns: Sequence[Compared], own: bool
) -> Outcome:
    """The outcome; `own`: a question of our own, with no setting of a paper."""
    holds, short = _holds(claim, found), any(line.short for line in concerns)
    if holds == "open":
        unknown = math.isnan(found.value)
        return "not reached" if unknown and claim.learned and short else "inconclusive"
    inside = holds == "yes"
    if claim.origin == "theory":
        return "theory" if inside else "contradicted"
    if own:
        return "observed" if inside else "not observed"
    if short and (claim.unlearned if inside else claim.learned):
        return "not reached"
    if claim.origin == "ours":
        return "observed" if inside else "not observed"
    if any(map(_differs, concerns)):
        return "reduced scale" if inside else "not observed"
    if any(line.known != "stated" for line in concerns):
        return "undetermined setting"
    if claim.origin == "pattern":
        return "observed" if inside else "not observed"
    return "reproduced" if inside else "contradicted"


def _holds(claim: Claim, found: Estimate) -> str:
    if any(map(math.isnan, (found.value, found.low, found.high))):
        return "open"
    low, high = claim.low, claim.high
    if claim.strict:
        low, high = np.nextafter(low, math.inf), np.nextafter(high, -math.inf)
    if found.low >= low and found.high <= high:
        return "yes"
    return "no" if found.high < low or found.low > high else "open"


def _differs(line: Compared) -> bool:
    return line.known != "not stated" and not line.same
