"""The description of a figure: its source, set-up, presets and claims."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.reproduce.evidence import Estimate
from rnnjax.reproduce.setting import Setting


Origin = Literal["theory", "paper", "pattern", "ours"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement that is decided by a number.

    Attributes:
        sentence: the claim, with the threshold in words.
        number: computes the number from the stored results, as an `Estimate` if it
            depends on runs, trials or networks; NaN: the results do not determine it.
        low, high: bounds of the number for the claim to hold, both included; fixed
            before the first full run.
        source: source of the bounds: an equation, a place in the paper, or our choice.
        origin: `theory`: we derive the claim; `paper`: text, figure or code of the
            paper sets the bound; `pattern`: the paper shows the pattern, but the
            threshold is ours; `ours`: the claim is our own.
        presets: presets that can test the claim; in others it is not evaluated.
        settings: names of the lines of the figure's `settings` that the claim depends
            on; None: all.
        strict: whether the bounds themselves are excluded: a tie is not "more".
        learned: whether more updates could still make the claim true.
        unlearned: whether more updates could still make it false.
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


@dataclasses.dataclass(frozen=True)
class Preset:
    """One size of a set-up.

    Attributes:
        settings: a frozen dataclass of what differs between presets, with `seeds`.
        cost: expected cost, in words: "20 s", "2 h on a GPU".
    """

    settings: Any
    cost: str


Run = Callable[[Any, Path], xr.Dataset]
"""Maps settings, and the pool of runs for figures that train, to results."""

Draw = Callable[[xr.Dataset], Drawn]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a paper and how it is reproduced.

    Attributes:
        name: name of its module and on the command line.
        place: position in the gallery, such as "2" or "0a".
        title: title, in a few words.
        source: authors, title, version and figure.
        shows: what the paper's figure shows.
        setup: how it is done here, and how that differs from the paper.
        presets: `quick` and `paper`; `test` is the version that the tests run.
        run: maps settings to results. Arrays have named dimensions.
        draw: maps stored results to a drawing.
        claims: claims that are tested against the results.
        settings: the table "paper / here / same?"; empty: a question of our own, with
            no setting of a paper to compare to.
        remarks: other findings, written after the run; they do not affect outcomes.
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
