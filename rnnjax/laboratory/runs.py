"""The laboratory for a configured run: at initialisation, or from its parameters."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from rnnjax.laboratory.examine import SECTIONS, examine, subject
from rnnjax.laboratory.learning import learning
from rnnjax.laboratory.words import words
from rnnjax.training.build import build_hyper, build_model, build_task, heldout
from rnnjax.training.config import RunConfig


RUN_SECTIONS = (*SECTIONS, "learning", "words")

MANY = 600
"""Held-out examples from which the linear probe of the memory learns."""


def examine_run(
    config: RunConfig, params: Any, sections: Sequence[str] = RUN_SECTIONS
) -> xr.Dataset:
    """Every quantity of a run's model with these parameters, on held-out examples.

    Args:
        config: the run's configuration; `config.probe` says how many examples.
        params: of the run's model.
        sections: some of `RUN_SECTIONS`.
    """
    task, data = build_task(config.task, config.task_options)
    spec = task.spec(data)
    model = build_model(config, spec)
    batch = heldout(config.task, config.task_options, "validation", config.probe.batch)
    general = [name for name in sections if name in SECTIONS]
    made = [examine(subject(model, params, batch, spec), general)]
    if "learning" in sections:
        rules = config.optimizer.name, config.remedy.name
        made.append(learning(model, params, batch, spec, *rules, build_hyper(config)))
    if "words" in sections and config.probe.sentences:
        many = heldout(config.task, config.task_options, "validation", MANY)
        names = task.words if spec.vocabulary is not None else None
        count = config.probe.sentences
        made.append(words(model, params, batch, many, spec, count, names))
    return xr.merge(made)
