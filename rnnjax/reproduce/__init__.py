"""Figures of papers, reproduced, with claims that are tested.

A figure is one module in `experiments/` that contains a `Figure`. This package runs it,
stores the results, draws them and reports which of its claims hold.
"""

from rnnjax.reproduce.evidence import Estimate, difference, mean, median, share
from rnnjax.reproduce.figure import Claim, Figure, Preset, Setting, same
from rnnjax.reproduce.verdict import Verdict, judge


__all__ = [
    "Claim",
    "Estimate",
    "Figure",
    "Preset",
    "Setting",
    "Verdict",
    "difference",
    "judge",
    "mean",
    "median",
    "same",
    "share",
]
