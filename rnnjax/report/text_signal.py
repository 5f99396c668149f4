"""What the examples that a gradient needs say, in sentences (see `text`)."""

import polars as pl

from rnnjax.counting import count
from rnnjax.report.conditions import farthest
from rnnjax.report.naming import listing, power, whole


STAGES = {"start": "initialisation", "end": "the end"}


def first_word(examples: pl.DataFrame, axis: str) -> list[str]:
    """Whether the signal of the farthest lag exceeds the noise within the budget.

    `examples` are those of `rnnjax.report.flow.Flow`.
    """
    found = []
    for place in farthest(examples):
        far = place.of(examples).filter(
            pl.col("lag") == pl.col("lag").max().over("run_id", "train_step")
        )
        for stage, words in STAGES.items():
            here = far.filter(stage=stage)
            if here.is_empty():
                continue
            texts = [
                _needs(name, here.filter(variant=name))
                for name in here["variant"].unique(maintain_order=True)
            ]
            budgets = here["budget"].unique()
            budget = (
                f"the {whole(budgets[0])} examples" if len(budgets) == 1 else "those"
            )
            where = place.title(axis)
            found.append(
                f"{'At ' + where + ' and' if where else 'At'} {words} the signal of "
                "the first word exceeds the noise of the whole gradient from N*_up "
                f"examples on (median): {listing(texts)}; it is shown to do so within "
                f"{budget} of the training run in "
                f"{here['within'].sum()} of {count(len(here), 'run')}."
            )
    return found


def _needs(name: str, rows: pl.DataFrame) -> str:
    middle = rows["update"].quantile(0.5, "higher")
    if middle is None or middle == float("inf"):
        return f"{name} more than can be seen"
    return f"{name} {power(middle) if middle >= 4 else f'{10**middle:.0f}'}"
