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
from rnnjax.sweeps.resume import wrap
from rnnjax.training.build import build_model, build_task, heldout
from rnnjax.training.history import Outcome


def seal(
    run: RunDir,
    begun: Manifest,
    job: Job,
    outcome: Outcome,
    slot: Slot,
    keep: bool = True,
) -> RunDir:
    """Write all results of a run; its manifest, written last, seals it.

    Args:
        run: the run directory.
        begun: the manifest written when the run began.
        job: the job of the run.
        outcome: the results of training.
        slot: the position of the run in its pack.
        keep: whether to store the state, too, so that a longer run can resume from it.
    """
    probes = probe_data(job, outcome)
    manifest = begun.replace(
        status=outcome.status,
        finished=now(),
        steps=outcome.steps,
        diverged_at=outcome.diverged_at,
        results=dict(outcome.results) | references(job),
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
        params_at=probed_params(job, outcome),
        best=None if outcome.best is None else to_bytes(outcome.best),
        state=wrap(job, outcome.kept) if keep and outcome.kept else None,
    )


def probed_params(job: Job, outcome: Outcome) -> bytes | None:
    """Serialized parameters at the probed steps, if the run keeps them."""
    probe = job.config.probe
    if not probe.keep_params or probe.preset != "full" or not outcome.params_at:
        return None
    steps = {str(step): params for step, params in outcome.params_at.items()}
    return to_bytes(steps)


def references(job: Job) -> dict[str, float]:
    """The results of simpler methods on the same data, as ``reference.<name>``."""
    config = job.config
    task, _ = build_task(config.task, config.task_options)
    return {f"reference.{name}": value for name, value in task.references().items()}


def probe_data(job: Job, outcome: Outcome) -> xr.Dataset | None:
    """The probe measurements of a run as a data set; None if there are none."""
    if not outcome.measurements:
        return None
    config, spec = job.config, job.signature.spec
    batch = heldout(config.task, config.task_options, "validation", config.probe.batch)
    if config.probe.preset == "light":
        return light_to_dataset(outcome.measurements)
    model = build_model(config, spec)
    task, _ = build_task(config.task, config.task_options)
    names = labels(model, spec, outcome.params, batch)
    return to_dataset(
        outcome.measurements,
        names,
        batch,
        np.asarray(last_loss_step(spec, batch)),
        task.words if spec.vocabulary is not None else None,
        turned_layers(spec, names.layers),
    )
