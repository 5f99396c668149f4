"""The description of a figure: its source, set-up, presets and claims.

Its table "paper / here / same?" says how the set-up differs from the paper's.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from matplotlib.figure import Figure as Drawn

from rnnjax.reproduce.evidence import Estimate


Origin = Literal["theory", "paper", "pattern", "ours"]

Known = Literal["stated", "from memory", "not stated"]


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


@dataclasses.dataclass(frozen=True)
class Setting:
    """One line of a set-up, in the paper and here.

    Attributes:
        name: such as "hidden units".
        paper: the paper's value; None: the paper does not state it.
        here: our value, or a function of a preset's settings that returns it. The
            settings agree if the two values compare equal.
        source: source of the paper's value: its text, a figure, the authors' code.
        memory: whether the paper's value is from memory, not checked in the paper.
        harmless: why a difference does not matter, or a function of a preset's
            settings that returns the reason; empty: it does matter.
        budget: whether this is the training budget (the number of updates, or another
            measure); if it is smaller here, a goal may be missed for that reason alone.
    """

    name: str
    paper: Any
    here: Any
    source: str = ""
    memory: bool = False
    harmless: str | Callable[[Any], str] = ""
    budget: bool = False

    def compared(self, settings: Any) -> "Compared":
        """This line for the settings of a preset."""
        here = self.here(settings) if callable(self.here) else self.here
        reason = self.harmless
        harmless = reason(settings) if callable(reason) else reason
        known: Known = "from memory" if self.memory else "stated"
        if self.paper is None:
            known = "not stated"
        short = self.budget and self.paper is not None and here < self.paper
        return Compared(
            name=self.name,
            paper="not stated" if self.paper is None else in_words(self.paper),
            here=in_words(here),
            same=self.paper is not None and self.paper == here,
            known=known,
            source=self.source,
            harmless=harmless,
            short=bool(short),
        )


@dataclasses.dataclass(frozen=True)
class Compared:
    """A line of the table, in words.

    Attributes:
        name, source, harmless: see `Setting`.
        paper, here: both values.
        same: whether they are equal.
        known: whether the paper's value is stated, from memory, or not stated.
        short: whether the budget here is smaller.
    """

    name: str
    paper: str
    here: str
    same: bool
    known: Known
    source: str
    harmless: str
    short: bool

    @property
    def verdict(self) -> str:
        """The cell "same?" of the line: "yes" or "no", qualified if needed."""
        if self.known == "not stated":
            return "not stated"
        text = "yes" if self.same else "no"
        if not self.same and self.harmless:
            text = f"no, but {self.harmless}"
        return f"{text} (paper from memory)" if self.known == "from memory" else text


def same(name: str, value: Any, source: str = "", memory: bool = False) -> Setting:
    """A line in which every preset agrees with the paper."""
    return Setting(name, value, value, source, memory)


def compare(lines: Sequence[Setting], settings: Any) -> tuple[Compared, ...]:
    """The table "paper / here / same?" for the settings of one preset."""
    return tuple(line.compared(settings) for line in lines)


def in_words(value: Any) -> str:
    """A value in human-readable form.

    >>> in_words(5_000_000), in_words((100, 200)), in_words(1e-3), in_words(True)
    ('5 000 000', '100, 200', '0.001', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:g}".replace("-", "−")
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    return str(value)


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
