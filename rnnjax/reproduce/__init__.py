"""Figures of papers, drawn anew, with claims that are judged.

A figure is one module in `experiments/` that holds a `Figure`. This room runs it,
stores what came out, draws it and says which of its claims hold.
"""

from rnnjax.reproduce.figure import Claim, Estimate, Figure, Preset
from rnnjax.reproduce.verdict import Verdict, judge


__all__ = ["Claim", "Estimate", "Figure", "Preset", "Verdict", "judge"]
