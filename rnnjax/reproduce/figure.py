"""What a figure says about itself: its source, set-up, presets and claims."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.reproduce.evidence import Estimate
from rnnjax.reproduce.setting import Setting


Origin = Literal["theory", "paper", "pattern", "ours"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence that a number decides.

    Attributes:
        sentence: what is claimed, with the threshold in words.
        number: computed from the stored results, an `Estimate` where it depends on
            runs, trials or networks; NaN: they cannot say.
        low, high: where the number has to lie, both ends included; frozen before the
            first full run.
        source: where that comes from: an equation, a place in the paper, or our choice.
        origin: `theory`, which we derive; `paper`, whose text, figure or code sets the
            bound; `pattern`, which the paper shows, by a threshold of our own; `ours`,
            a claim of our own.
        presets: that can carry the claim; in others it is not run.
        settings: names of the lines of the figure's `settings` that the claim depends
            on; None: all.
        strict: the bounds themselves do not count: a tie is not "more".
        learned: more updates could still bring it about.
        unlearned: more updates could still undo it.
    """

    sentence: str
    number: Callable[[xr.Dataset], float | Estimate]
    source: str
    low: float = -math.inf
    high: float = math.inf
    origin: Origin = "ours"
    presets: tuple[str, ...] = ("quick", "paper")
    settings: tuple[str, ...] | None = None
    strict: bool = False
    learned: bool = False
    unlearned: bool = False


class Settings(Protocol):
    """A frozen dataclass: every number of a set-up that a preset chooses."""

    @property
    def seeds(self) -> tuple[int, ...]: ...


@dataclasses.dataclass(frozen=True)
class Preset:
    """One size of a set-up.

    Attributes:
        settings: a frozen dataclass, see `Settings`.
        cost: expected, in words: "20 s", "2 h on a GPU".
    """

    settings: Any
    cost: str


Run = Callable[[Any, Path], xr.Dataset]
"""From settings, and the pool of runs for a figure that trains, to results."""

Draw = Callable[[xr.Dataset], Drawn]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a paper and how it is drawn anew.

    Attributes:
        name: of its module and of the command.
        place: in the gallery: "2", "0a".
        title: in a few words.
        source: authors, title, version and figure.
        shows: what the paper shows there.
        setup: how it is done here, and where that differs.
        presets: `quick` and `paper`; `test` is the form that the tests run.
        run: from settings to results. Arrays have named dimensions.
        draw: from results as they were stored to a figure.
        claims: judged by the results.
        settings: the table "paper / here / same?"; empty: a question of our own, which
            no paper's setting answers.
        remarks: what else came out, written after the run; changes no outcome.
    """

    name: str
    place: str
    title: str
    source: str
    shows: str
    setup: str
    presets: Mapping[str, Preset]
    run: Run
    draw: Draw
    claims: tuple[Claim, ...]
    settings: tuple[Setting, ...] = ()
    remarks: tuple[str, ...] = ()
