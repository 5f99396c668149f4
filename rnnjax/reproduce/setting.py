"""The table "paper / here / same?": how a set-up differs from the paper's."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal


Known = Literal["stated", "from memory", "not stated"]


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
