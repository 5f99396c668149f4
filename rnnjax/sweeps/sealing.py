"""Write the outcome of a run to its directory, and seal it."""

import numpy as np
import polars as pl
import xarray as xr
from flax.serialization import to_bytes

from rnnjax.probes.backward.trace import last_loss_step
from rnnjax.probes.dataset import light_to_dataset, to_dataset
from rnnjax.probes.measure import labels, turned_layers
from rnnjax.store.joined import versions
from rnnjax.store.manifest import Manifest, Slot, now
from rnnjax.store.rundir import RunDir
from rnnjax.store.writing import finish_run
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.reuse import wrap
from rnnjax.training.build import build_task, heldout
from rnnjax.training.history import Outcome


def seal(
    run: RunDir, begun: Manifest, job: Job, outcome: Outcome, slot: Slot, keep: bool
) -> RunDir:
    """Write all results of a run; its manifest, written last, seals it.

    With `keep` the state is stored, too, so that a longer run can resume from it.
    """
    probes = probe_data(job, outcome)
    task, _ = build_task(job.config.task, job.config.task_options)
    known = {f"reference.{name}": value for name, value in task.references().items()}
    probe, kept = job.config.probe, {}
    if probe.keep_params and probe.preset == "full":
        kept = {str(step): params for step, params in outcome.params_at.items()}
    manifest = begun.replace(
        status=outcome.status,
        finished=now(),
        steps=outcome.steps,
        diverged_at=outcome.diverged_at,
        results=dict(outcome.results) | known | _signal_results(probes),
        compile_seconds=outcome.compile_seconds,
        run_seconds=outcome.seconds,
        pack=slot,
        resumed_from=outcome.resumed_from,
        definitions={} if probes is None else versions(probes),
    )
    return finish_run(
        run,
        manifest,
        metrics=pl.DataFrame(dict(outcome.metrics)),
        probes=probes,
        params=to_bytes(outcome.params),
        params_at=to_bytes(kept) if kept else None,
        best=None if outcome.best is None else to_bytes(outcome.best),
        state=wrap(job, outcome.kept) if keep and outcome.kept else None,
    )


def probe_data(job: Job, outcome: Outcome) -> xr.Dataset | None:
    """The probe measurements of a run as a data set; None if there are none."""
    if not outcome.measurements:
        return None
    config, spec = job.config, job.signature.spec
    if config.probe.preset == "light":
        return light_to_dataset(outcome.measurements)
    batch = heldout(config.task, config.task_options, "validation", config.probe.batch)
    model = job.signature.model  # names do not depend on its numbers
    task, _ = build_task(config.task, config.task_options)
    names = labels(model, spec, outcome.params, batch)
    data = to_dataset(
        outcome.measurements,
        names,
        batch,
        np.asarray(last_loss_step(spec, batch)),
        task.words if spec.vocabulary is not None else None,
        turned_layers(spec, names.layers),
    )
    if not config.probe.signal:
        return data
    # imported where it is used: few runs measure it
    from rnnjax.analysis.signal_in_training import signal_in_training

    return xr.merge([data, signal_in_training(config, outcome.params_at)])


def _signal_results(probes: xr.Dataset | None) -> dict[str, float]:
    if probes is None or "budget_horizon" not in probes:
        return {}
    from rnnjax.analysis.signal_in_training import signal_results

    return signal_results(probes)
