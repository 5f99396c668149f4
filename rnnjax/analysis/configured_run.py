"""The analysis of a configured run, at initialisation or with trained parameters."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from rnnjax.analysis.analyze import SECTIONS, analyze, walk_model
from rnnjax.analysis.dynamics import SENTENCES
from rnnjax.analysis.run_interventions import run_interventions
from rnnjax.analysis.signal import signals
from rnnjax.analysis.tokens import tokens
from rnnjax.analysis.updates import updates
from rnnjax.errors import UserError, unknown
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.backward.trace import trace
from rnnjax.probes.contributions.chain_rule import chain_rule
from rnnjax.probes.contributions.chain_table import ChainRule
from rnnjax.probes.contributions.to_kernels import kernels
from rnnjax.training.build import build_hyper, build_model, build_task, heldout
from rnnjax.training.config import RunConfig


RUN_SECTIONS = (*SECTIONS, "updates", "tokens")
"""What the page of a probe shows."""

ALL_SECTIONS = (*RUN_SECTIONS, "signal", "interventions")

MANY = 600
"""Number of held-out examples to which the linear probe of the memory is fitted."""

_trace = jit_unoptimised(trace, static_argnames=("model", "spec", "lag"))


def parse_weight(text: str) -> tuple[str, str, tuple[int, ...]]:
    """Layer, kernel and index of a weight.

    >>> parse_weight("U[0,1]")
    ('layer0', 'U', (0, 1))
    >>> parse_weight("layer1/V[2, 3]")
    ('layer1', 'V', (2, 3))

    Raises:
        UserError: the text does not have this form.
    """
    found = re.fullmatch(r"(?:([\w.]+)/)?(\w+)\[([\d, ]+)\]", text)
    if found is None:
        raise UserError(
            f"weight={text} is not an entry of a kernel; write, for example, "
            "weight=V[0,0]"
        )
    layer, kernel, index = found.groups()
    places = tuple(int(place) for place in index.split(",") if place.strip())
    return layer or "layer0", kernel, places


def write_out(config: RunConfig, params: Any, weight: str) -> ChainRule:
    """The chain rule of one weight for the first held-out example.

    Args:
        config: the run's configuration; its learning rate is used for the update.
        params: parameters of the run's model.
        weight: see `parse_weight`.

    Raises:
        UserError: no such weight.
    """
    layer, kernel, index = parse_weight(weight)
    task, data = build_task(config.task, config.task_options)
    spec = task.spec(data)
    model = build_model(config, spec)
    batch = heldout(config.task, config.task_options, "validation", 1)
    seen = _trace(model, params, batch, spec, lag="last")
    walks = {walk.name: walk for walk in seen.walks}
    if layer not in walks:
        raise unknown("layer", layer, walks)
    names = None
    if spec.vocabulary is not None:
        tokens = np.asarray(batch.inputs)[: int(batch.lengths[0]), 0]
        names = task.words(tokens)
    try:
        return chain_rule(walks[layer], kernel, index, rate=config.lr, words=names)
    except ValueError as error:
        raise UserError(f"weight={weight}: {error}") from None


def analyze_run(
    config: RunConfig, params: Any, sections: Sequence[str] = RUN_SECTIONS
) -> xr.Dataset:
    """Every quantity of a run's model with these parameters, on held-out examples.

    `config.probe` sets their number; `sections` are some of `ALL_SECTIONS`.
    """
    task, data = build_task(config.task, config.task_options)
    spec = task.spec(data)
    model = build_model(config, spec)
    batch = heldout(config.task, config.task_options, "validation", config.probe.batch)
    general = [name for name in sections if name in SECTIONS]
    sentences = config.probe.sentences
    begun = []
    if "updates" in sections:
        rules = config.optimizer, config.clipping.name
        begun.append(updates(model, params, batch, spec, *rules, build_hyper(config)))
    opened = walk_model(model, params, batch, spec)
    if "tokens" in sections and sentences:
        many = heldout(config.task, config.task_options, "validation", MANY)
        names = task.words if spec.vocabulary is not None else None
        found = [kernel.name for kernel in kernels(opened.total)]
        some = batch, many, spec, sentences, names, found
        begun.append(tokens(model, params, *some))
    if "signal" in sections:
        begun.append(signals(config, params))
    made = [analyze(opened, general, config.optimizer, sentences or SENTENCES)]
    made += [data_set() for data_set in begun]
    if "interventions" in sections:
        made.append(run_interventions(model, params, batch, spec))
    data = xr.merge(made, join="outer")
    if "loss" in data:
        data["loss"].attrs["without_memory"] = spec.baseline_loss
    return data
