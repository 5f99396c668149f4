"""The conditions of a sweep: what a column of panels, or a sentence, is about."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from rnnjax.report.naming import whole


class Condition(NamedTuple):
    """A setting of the task and a distance; either may be missing."""

    setting: str
    distance: float | None

    def title(self, axis: str) -> str:
        """In words, such as "distance 100"; empty if there is nothing to say.

        >>> Condition("form=next_word", 4.0).title("distance")
        'distance 4, form=next_word'
        """
        known = [] if self.distance is None else [f"{axis} {whole(self.distance)}"]
        return ", ".join([*known, *filter(None, [self.setting])])

    def at(self, axis: str) -> str:
        """As a part of a sentence: " at distance 100", or nothing."""
        title = self.title(axis)
        return f" at {title}" if title else ""

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of a table that belong here."""
        return frame.filter(
            pl.col("setting") == self.setting,
            pl.col("distance").eq_missing(pl.lit(self.distance, pl.Float64)),
        )


def places(frame: pl.DataFrame) -> list[Condition]:
    """All places of a table with columns `setting` and `distance`, nearest first."""
    pairs = frame.select("setting", "distance").unique(maintain_order=True)
    found = [Condition(*row) for row in pairs.iter_rows()]
    return sorted(found, key=lambda place: (place.setting, place.distance or 0.0))


def farthest(frame: pl.DataFrame) -> list[Condition]:
    """The farthest place of each setting."""
    return list({place.setting: place for place in places(frame)}.values())


def some(found: Sequence[Condition], limit: int = 4) -> list[Condition]:
    """At most `limit` of them, evenly chosen, the first and the last among them.

    >>> [place.distance for place in some([Condition("", d) for d in range(7)], 3)]
    [0, 3, 6]
    """
    if len(found) <= limit:
        return list(found)
    return [found[round(i * (len(found) - 1) / (limit - 1))] for i in range(limit)]


def left_out(found: Sequence[Condition], shown: Sequence[Condition]) -> str:
    """A closing remark of a caption if not all places are drawn."""
    if len(found) == len(shown):
        return ""
    return f" {len(shown)} of {len(found)} conditions are drawn, the table has all."


def in_order(frame: pl.DataFrame, variants: Sequence[str]) -> list[str]:
    """The variants that occur in a table, in the order of the sweep."""
    there = set(frame["variant"])
    return [name for name in variants if name in there]
