"""Instruments: one figure for each kind of quantity in a probe data set.

Every function takes a data set (of `rnnjax probe`, of `rnnjax.probe`, or a run's
``probes.nc``) and gives a figure, or None where the data set lacks the variables. Of a
run's probes the last measurement is drawn, but for `gradient_over_training`.
"""

from rnnjax.report.instruments.adjoints import (
    direct_path,
    effective_rank,
    gradient_against_lag,
    two_factors,
)
from rnnjax.report.instruments.contributions import contributions, signal_to_noise
from rnnjax.report.instruments.dynamics import (
    lyapunov,
    propagator_spectrum,
    step_spectrum,
)
from rnnjax.report.instruments.factors import gates, slopes
from rnnjax.report.instruments.tokens import word_strip
from rnnjax.report.instruments.training import gradient_over_training
from rnnjax.report.instruments.updates import truncation, updates


__all__ = [
    "contributions",
    "direct_path",
    "effective_rank",
    "gates",
    "gradient_against_lag",
    "gradient_over_training",
    "lyapunov",
    "propagator_spectrum",
    "signal_to_noise",
    "slopes",
    "step_spectrum",
    "truncation",
    "two_factors",
    "updates",
    "word_strip",
]
