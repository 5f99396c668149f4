"""The quantities of `rnnjax.probes`, joined into one data set with names and units."""

from rnnjax.analysis.analyze import SECTIONS, Subject, examine
from rnnjax.analysis.any_model import probe


__all__ = ["SECTIONS", "Subject", "examine", "probe"]
