"""Figures, tables and words of a sweep, from what its runs left in the store."""

from rnnjax.report.build import build
from rnnjax.report.terminal import summary


__all__ = ["build", "summary"]
