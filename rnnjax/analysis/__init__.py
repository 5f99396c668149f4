"""The quantities of `rnnjax.probes`, collected in one data set with names and units."""

from rnnjax.analysis.analyze import SECTIONS, WalkedModel, analyze
from rnnjax.analysis.any_model import probe


__all__ = ["SECTIONS", "WalkedModel", "analyze", "probe"]
