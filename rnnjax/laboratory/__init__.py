"""The quantities of `rnnjax.probes`, joined into one data set with names and units."""

from rnnjax.laboratory.examine import SECTIONS, Subject, examine
from rnnjax.laboratory.users import probe


__all__ = ["SECTIONS", "Subject", "examine", "probe"]
