"""Compare adjoints with interventions in trained networks; write a table.

    rnnjax train -m variant=lstm,lstm_chrono seed=0,1,2 task.distance=50 out=/tmp/runs
    python -m scripts.interventions /tmp/runs/lstm*

The states of 64 held-out sentences are exchanged in a ring, and what counts is the log
odds of the right answer (`margin`), in nats, which do not saturate as a loss does. Of
whole arrays only exchanges between sentences of different labels count. About half a
minute for each run.
"""

import argparse
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

import rnnjax
from rnnjax.probes.inputs.answer import chosen_answer
from rnnjax.training.build import build_task, heldout, initial_params


EXAMPLES = 64
FRACTIONS = 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 1.0


def compare(run: rnnjax.Run, params: Any, name: str) -> None:
    """Print what was found in one network."""
    config = run.config
    task, data = build_task(config.task, config.task_options)
    spec = task.spec(data)
    batch = heldout(config.task, config.task_options, "validation", EXAMPLES)
    targets = np.asarray(batch.targets)
    other = targets != np.roll(targets, 1)

    def margin(answers: Any) -> Any:
        return chosen_answer(spec, answers, batch, "contrast")

    def swapped(**options: Any) -> xr.Dataset:
        found = rnnjax.intervene(
            run.model, params, batch.inputs, margin, how="swap", **options
        )
        return found.isel(layer=0)

    seen = swapped()
    print(f"\n{name}: log odds {float(seen.loss):.2f} nats")
    for array in ("c", "h"):
        one = seen.sel(array=array)
        pair = [one[f"effect_loss{x}_abs"].to_numpy() for x in ("", "_predicted")]
        there = (pair[0] >= float(seen["effect_rounding"])) & (pair[1] > 0)
        effect, said = (x[there] for x in pair)
        rank = float(spearmanr(effect, said).statistic)  # pyright: ignore
        low, middle, high = np.quantile(effect / said, (0.1, 0.5, 0.9))
        print(
            f"  units of {array}: rank correlation {rank:.2f}, effect / predicted "
            f"{middle:.2f} [{low:.2f}, {high:.2f}], over {there.mean():.0%} that are "
            "no rounding"
        )
    last = seen.sizes["time"] - 1
    times = sorted({0, last // 4, last // 2, 3 * last // 4, last - 1, last})
    print(f"  whole arrays after steps {times}, effect (predicted):")
    for array in ("joint", "c", "h"):
        effect, said = _sizes(seen.sel(array=array, time=times), other)
        cells = [f"{a:.3g} ({b:.2g})" for a, b in zip(effect, said, strict=True)]
        print(f"    {array:5}", "  ".join(cells))
    print(f"  joint, a fraction of the way after step {last // 2}:")
    where: dict[str, Any] = {"array": "joint", "at": last // 2, "units": "all"}
    for fraction in FRACTIONS:
        part = swapped(fraction=fraction, **where).sel(array="joint")
        effect, said = _sizes(part, other)
        # odds that fall by more than their mean turn around
        each = part["whole_effect_loss_example"].isel(time=0).to_numpy()
        fallen = each < -float(seen.loss)
        shares = [np.mean(fallen[other & (targets == label)]) for label in (0, 1)]
        turned = "fallen by more than the mean: " + ", ".join(
            f"{share:.0%} of label {label}" for label, share in enumerate(shares)
        )
        print(f"    {fraction:5}: {effect[0]:.3g} ({said[0]:.2g}), {turned}")


def _sizes(one: xr.Dataset, other: np.ndarray) -> list[np.ndarray]:
    """Mean absolute effects and predictions of the chosen examples, by step."""
    names = "whole_effect_loss_example", "whole_effect_loss_example_predicted"
    return [abs(one[k]).isel(example=other).mean("example").to_numpy() for k in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="run directories")
    for path in parser.parse_args().runs:
        run = rnnjax.open_run(path)
        score = f"test accuracy {run.results['test_accuracy']:.3f}"
        compare(run, run.params, f"{run.path.name}, {score}")
        start = initial_params(run.config)
        compare(run, start, f"{run.path.name}, untrained")


if __name__ == "__main__":
    main()
