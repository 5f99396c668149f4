"""Quantities of gradient flow: numbers, no drawing."""

from rnnjax.probes.adjoints.decay import Decay, Interval, decay, over_seeds
from rnnjax.probes.adjoints.norms import by_lag, log10_norms, state_names
from rnnjax.probes.backward.trace import Trace, last_loss_step, trace
from rnnjax.probes.contributions.to_kernels import (
    Contribution,
    contribution,
    kernels,
    sentence_shares,
)
from rnnjax.probes.dataset import light_to_dataset, to_dataset
from rnnjax.probes.light import LightNorms, norms, zero_taps
from rnnjax.probes.measure import Labels, Measurement, labels, measure


__all__ = [
    "Contribution",
    "Decay",
    "Interval",
    "Labels",
    "LightNorms",
    "Measurement",
    "Trace",
    "by_lag",
    "contribution",
    "decay",
    "kernels",
    "labels",
    "last_loss_step",
    "light_to_dataset",
    "log10_norms",
    "measure",
    "norms",
    "over_seeds",
    "sentence_shares",
    "state_names",
    "to_dataset",
    "trace",
    "zero_taps",
]
