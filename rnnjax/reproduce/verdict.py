"""How a claim is judged by results."""

import dataclasses
import math
from typing import Literal

import xarray as xr

from rnnjax.reproduce.figure import Claim, Estimate, Figure


Outcome = Literal[
    "calibrated",
    "reproduced",
    "reduced scale",
    "contradicted",
    "inconclusive",
    "not run",
]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim and what became of it.

    Attributes:
        sentence: the claim.
        outcome: `calibrated`: agrees with theory that we derive; `reproduced`: the
            paper's result in the paper's setting; `reduced scale`: its pattern, with a
            smaller budget; `contradicted`: a finding; `inconclusive`: the number is
            unknown, or its interval reaches beyond the bounds; `not run`: not for this
            preset.
        value: the number; None if not run.
        interval: of the number, if it has one.
        bounds: where it had to lie.
        source: of the bounds.
    """

    sentence: str
    outcome: Outcome
    value: float | None
    interval: tuple[float, float] | None
    bounds: tuple[float, float]
    source: str


def judge(figure: Figure, preset: str, results: xr.Dataset) -> tuple[Verdict, ...]:
    """A verdict for every claim of a figure."""
    faithful = figure.presets[preset].faithful
    return tuple(_judge(claim, preset, faithful, results) for claim in figure.claims)


def _judge(claim: Claim, preset: str, faithful: bool, results: xr.Dataset) -> Verdict:
    bounds = (claim.low, claim.high)
    if preset not in claim.presets:
        return Verdict(claim.sentence, "not run", None, None, bounds, claim.source)
    found = claim.number(results)
    interval = None
    if isinstance(found, Estimate):
        value, interval = float(found.value), (float(found.low), float(found.high))
    else:
        value = float(found)
    low, high = interval or (value, value)
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        outcome: Outcome = "inconclusive"
    elif low >= claim.low and high <= claim.high:
        outcome = "reproduced" if faithful else "reduced scale"
        outcome = "calibrated" if claim.origin == "theory" else outcome
    elif high < claim.low or low > claim.high:
        outcome = "contradicted"
    else:
        outcome = "inconclusive"
    return Verdict(claim.sentence, outcome, value, interval, bounds, claim.source)
