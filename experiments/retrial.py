"""Failures to learn, forecast from the start of training. Quick: 12 min."""

from pathlib import Path

import numpy as np
import xarray as xr

from rnnjax.reproduce import Claim, Figure, Preset

from .shared.causes import chosen, failing
from .shared.deciding_step import MEASURED
from .shared.forecast import OTHERS
from .shared.retrial_drawing import draw
from .shared.retrial_numbers import (
    excess,
    gap,
    gradient_first,
    later,
    noise_forecasts,
    pooled,
    rescue,
    solving,
)
from .shared.retrial_runs import (
    BATCH,
    MOMENTS,
    STARTS,
    TASKS,
    Settings,
    all_runs,
    measurements,
    plateaus,
    retried,
    solved_after,
    watched,
)


def run(settings: Settings, pool: Path) -> xr.Dataset:
    """Train, measure, try again what failed, and watch what learned late."""
    shape = settings.shape
    early, ended = all_runs(settings, pool)
    updates = solved_after(ended).reshape(shape)
    measured = measurements(settings, early, pool / "measured")
    measured = measured.reshape(-1, len(MOMENTS), *shape)
    first = [list(names).index(name) for names, name in _named(settings)]
    named = (first[0], first[1], shape[2] - 1)
    failed = failing(np.isfinite(updates))
    failed[named] = False
    places = [named, *chosen(failed, settings.cells)]
    again = retried(settings, pool, places)
    late = plateaus(updates, settings.plateau, settings.watched)
    ends = [int(updates[place]) for place in late]
    progress, seen = watched(settings, pool / "watched", late, ends)
    lengths = [
        [settings.length(task, k) for k in range(shape[2])] for task in settings.tasks
    ]
    axes = ("start", "task", "reach", "seed")
    return xr.Dataset(
        {
            "updates": (axes, updates),
            "measured": (("quantity", "moment", *axes), measured),
            "length": (("task", "reach"), lengths),
            "place": (("cell", "axis"), places),
            "retried": (("cell", "arm", "retry"), again),
            "late": (("plateau", "part"), np.reshape(late or [(-1,) * 4], (-1, 4))),
            "progress": (("plateau", "look"), progress),
            "seen": (("quantity", "plateau", "look"), seen),
        },
        {
            "start": list(settings.starts),
            "task": list(settings.tasks),
            "seed": list(settings.seeds),
            "quantity": list(MEASURED),
            "moment": list(MOMENTS),
            "arm": list(settings.arms),
            "look": settings.every * np.arange(progress.shape[1]),
        },
        {
            "batch": BATCH,
            "budget": settings.updates,
            "early": settings.early,
            "times": settings.large / BATCH,
        },
    )


def _named(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    start, task = settings.named
    return [(settings.starts, start), (settings.tasks, task)]


OURS = "ours, fixed before the first run"
PILOT = "ours, fixed before the first run; a pilot of 108 runs of one task had {}"

FIGURE = Figure(
    name="retrial",
    place="15",
    title="Failures to learn, forecast from the start",
    source=(
        "A question of our own about failures that were put down to vanishing "
        "gradients, such as those of Arjovsky, Shah & Bengio (2016) on the adding "
        "problem; noise scale after McCandlish et al. (2018)"
    ),
    shows=(
        "Expected: how long a run takes follows from N*_up, the examples that the "
        "signal of the deciding step needs to exceed the noise of the whole update, "
        "measured before training. Where only that is beyond the budget the early "
        "gradient is drowned, and restoring its size rescues the run."
    ),
    setup=(
        "32 units, Adam at 0.003, norm clipped at 1, batches of 32, at most 2000 "
        "(paper: 4000) updates, evaluated every 50 on 512 examples until solved by "
        "the task's own threshold. N*_up = tr Cov(G)/‖E S‖² from 1024 (512) held-out "
        "examples before the first update, S: what an example's own label adds at the "
        "first step that decides. Forecast: log10(updates × batch) = c + log10 N*_up, "
        "one constant from every second (start, length) of all tasks but the last. "
        "Failing cells (fewer than half of the seeds solved), evenly spaced in the "
        "order start, task, length, are tried again with one change each: the large "
        "batch has 256 examples, the other rates are a third and three times"
    ),
    presets={
        "quick": Preset(Settings(), "12 min"),
        "paper": Preset(
            Settings(
                starts=tuple(STARTS),
                tasks=tuple(TASKS),
                lengths=(8, 17, 33, 65),
                updates=4000,
                examples=512,
                cells=5,
                retries=2,
                watched=4,
                seeds=(0, 1, 2, 3, 4),
            ),
            "2 h, extrapolated",
        ),
        "test": Preset(
            Settings(
                starts=("tanh 0.9", "tanh 1.1"),
                tasks=("opinion",),
                lengths=(3,),
                updates=40,
                every=20,
                early=20,
                examples=64,
                cells=1,
                named=("tanh 0.9", "opinion"),
                large=64,
                retries=1,
                arms=("sham", "fast"),
                watched=1,
                plateau=0,
                looks=2,
                seeds=(0,),
            ),
            "40 s",
        ),
    },
    run=run,
    draw=draw,
    claims=(
        Claim(
            "N*_up at the start orders the runs by the examples they need (Spearman's "
            "ρ, all lengths and tasks; unsolved runs tie at the top)",
            lambda results: pooled(results, "update"),
            PILOT.format("ρ = .94"),
            low=0.8,
        ),
        Claim(
            "it orders them better than the ratio ‖λ‖ at the deciding step over ‖λ‖ "
            "at the last (difference of ρ)",
            lambda results: excess(results, "ratio"),
            PILOT.format(".94 against .87"),
            low=0.0,
            strict=True,
        ),
        Claim(
            "N*, which counts the deciding step's own noise alone, orders them worse "
            "by at least 0.2 (difference of ρ)",
            lambda results: excess(results, "own"),
            PILOT.format(".94 against .56"),
            low=0.2,
        ),
        Claim(
            "it orders them better than how other seeds and tasks went with the same "
            "start and length (difference of ρ)",
            lambda results: excess(results, OTHERS),
            OURS,
            low=0.0,
            strict=True,
        ),
        Claim(
            "N*_up tells runs that solve their task from those that do not (area "
            "under the ROC curve)",
            solving,
            OURS,
            low=0.9,
        ),
        Claim(
            "one constant forecasts the examples of held-out cells (median error of "
            "solved runs, decades)",
            lambda results: gap(results, task=False),
            OURS,
            high=0.5,
        ),
        Claim(
            "so does the slope ½ of a drift: c + ½ log10 N*_up (median error of solved "
            "runs in held-out cells, decades)",
            lambda results: gap(results, task=False, slope=0.5),
            "ours, fixed before the first run; Adam moves by its rate whatever the "
            "size of a gradient",
            high=0.5,
        ),
        Claim(
            "and, with the same constant of slope 1, those of a task that it was not "
            "fitted to (median error of solved runs, decades)",
            lambda results: gap(results, task=True),
            OURS,
            high=1.0,
        ),
        Claim(
            "measured after 100 updates, N*_up orders the runs that still train no "
            "worse than at the start (difference of ρ at least −0.05)",
            later,
            OURS,
            low=-0.05,
        ),
        Claim(
            "where the forecast is “drowned”, restoring the norm of the adjoint "
            "rescues more seeds than the same factors at other steps (difference of "
            "shares, mean over failing cells)",
            rescue,
            OURS,
            low=0.5,
        ),
        Claim(
            "whether pairs and the larger batch rescue is forecast (share that came "
            "true, mean over failing cells)",
            noise_forecasts,
            OURS,
            low=0.7,
        ),
        Claim(
            "on plateaus that end, N*_up gets half way to its least value before the "
            "metric gets half way to the solution (share of the watched runs)",
            gradient_first,
            OURS,
            low=0.5,
            strict=True,
        ),
    ),
)
