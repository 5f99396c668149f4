"""The gallery: one page with every picture, verdict, command, seed, cost and commit."""

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rnnjax.reproduce.figure import Figure
from rnnjax.reproduce.figure_files import RECORD, Record
from rnnjax.reproduce.runner import GALLERY, figure_files
from rnnjax.reproduce.verdict import MEANINGS, Verdict


PAGE = "README.md"

HEAD = """\
# Figures of papers, drawn anew

Written by `rnnjax reproduce NAME out=experiments`; not edited by hand.

Each figure is one module of this folder. It states its source, runs its set-up, and
judges claims whose bounds stand in the module. Bounds that the paper does not set are
ours; some were computed from a few networks when the figure was planned, and say so;
some were raised to what six seeds can decide. A number that depends on runs (seeds,
trials, networks) stands with its 95 % interval in [ ]: Wilson's for a share of runs,
Newcombe's for a difference of two shares, Student's t for a mean, order statistics for
a median, for which six runs are the fewest.

A claim *holds* if the whole interval lies within the bounds, does not if all of it lies
beyond one, and is *open* otherwise; "fails from" is the least that this design would
have found to fail. What that says of a paper depends on the setting; it is the verdict:

{meanings}

{reproduced}

`quick` takes minutes on two cores; `paper` is as near to the paper's budget as was run
or could be, and what still differs is listed with it.

```sh
rnnjax list figures
rnnjax reproduce cliff                      # or preset=paper
rnnjax reproduce cliff --redraw experiments/gallery/cliff  # draw again, without running
rnnjax reproduce --all
```
"""


def is_gallery(folder: Path) -> bool:
    """Whether the page in a folder is one that was written here."""
    page = folder / PAGE
    return page.is_file() and page.read_text().startswith(HEAD.splitlines()[0])


def render(figures: Sequence[Figure], out: Path) -> str:
    """The text of the page, from the records on disk."""
    rows, parts, shown = [], [], []
    for figure in figures:
        files = figure_files(figure, out)
        records = [
            files.record(preset)
            for preset in figure.presets
            if preset != "test" and files.file(preset, RECORD).is_file()
        ]
        shown += records
        link = f"[{figure.title}](#{_anchor(_heading(figure))})"
        cells = [
            (record.preset, _seconds(record), count_outcomes(record.verdicts))
            for record in records
        ]
        for own in cells or [("–", "–", "not run")]:
            rows.append(_row(figure.place, link, *own))
        parts.append(_section(figure, records))
    table = "| | figure | preset | cost | verdicts |\n|---|---|---|---|---|\n"
    meanings = "\n".join(
        f"- *{word.capitalize()}*: {meaning}." for word, meaning in MEANINGS.items()
    )
    every = [verdict for one in shown for verdict in one.verdicts]
    found = Counter(verdict.outcome for verdict in every)
    said = (
        f"So far {found['reproduced']} claims are reproduced and "
        f"{found['contradicted']} contradicted; in all {count_outcomes(every)}."
    )
    head = HEAD.format(meanings=meanings, reproduced=textwrap.fill(said, 88))
    return "\n".join([head, table + "\n".join(rows) + "\n", *parts])


def count_outcomes(verdicts: Sequence[Verdict]) -> str:
    """The number of evaluated claims with each outcome, in words."""
    counted = Counter(verdict.outcome for verdict in verdicts)
    return ", ".join(
        f"{counted[name]} {name}"
        for name in MEANINGS
        if counted[name] and name != "not run"
    )


def written(value: float | None) -> str:
    """A number with four significant digits and a proper minus sign.

    >>> written(-12345.6), written(0.25), written(float("inf")), written(None)
    ('−1.235e+04', '0.25', '∞', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    text = "∞" if math.isinf(value) and value > 0 else f"{value:.4g}"
    return text.replace("-inf", "−∞").replace("-", "−", 1)


def bounds_text(bounds: tuple[float, float], strict: bool = False) -> str:
    """The bounds of a number, in words.

    >>> bounds_text((1.0, float("inf"))), bounds_text((1.0, 1.0))
    ('≥ 1', '1')
    >>> bounds_text((-0.5, 0.5))
    '−0.5 … 0.5'
    >>> bounds_text((1.0, float("inf")), strict=True)
    '> 1'
    """
    low, high = bounds
    if low == high:
        return written(low)
    if math.isinf(high):
        return f"{'>' if strict else '≥'} {written(low)}"
    if math.isinf(low):
        return f"{'<' if strict else '≤'} {written(high)}"
    return f"{written(low)} … {written(high)}"


def value_text(verdict: Verdict) -> str:
    """The number of a verdict, with its interval and the number of runs."""
    text = written(verdict.value)
    if verdict.interval == (-math.inf, math.inf):
        text += " (too few runs for an interval)"
    elif verdict.interval:
        text += f" [{', '.join(map(written, verdict.interval))}]"
    return f"{text}, n = {verdict.runs}" if verdict.runs else text


def reasons_text(verdict: Verdict) -> str:
    """What weakens a verdict: settings that differ, are not stated, or are from memory.

    Empty if there are none.

    >>> number = (1.0, None, (0.0, 1.0), "us")
    >>> reasons_text(Verdict("so", "reduced scale", *number, differs=("units",)))
    'differs in units'
    """
    parts = []
    if verdict.differs:
        parts.append(f"differs in {', '.join(verdict.differs)}")
    if unknown := [name for name in verdict.unknown if name not in verdict.differs]:
        parts.append(f"not stated or from memory: {', '.join(unknown)}")
    return "; ".join(parts)


def _section(figure: Figure, records: Sequence[Record]) -> str:
    lines = [f"## {_heading(figure)}", "", f"{figure.source}.", ""]
    lines += [f"*The paper:* {figure.shows}", "", f"*Here:* {figure.setup}", ""]
    for record in records:
        lines += _recorded(figure, record)
    done = [record.preset for record in records]
    for name, preset in figure.presets.items():
        if name not in (*done, "test"):
            lines += [f"Preset `{name}` is not run; expected cost: {preset.cost}.", ""]
    if figure.remarks:
        lines += [*(f"- {remark}" for remark in figure.remarks), ""]
    return "\n".join(lines)


def _recorded(figure: Figure, record: Record) -> list[str]:
    picture = f"{GALLERY}/{figure.name}/{record.preset}.png"
    lines = [f"![{figure.title}, {record.preset}]({picture})", ""]
    lines += [
        "| verdict | holds | claim | found | wanted | wanted by | fails from |",
        "|---|---|---|---|---|---|---|",
    ]
    for verdict in record.verdicts:
        if verdict.outcome == "not run":  # it is tested by another preset
            continue
        reasons = reasons_text(verdict)
        so_far = verdict.outcome == "not reached" and verdict.holds == "yes"
        lines.append(
            _row(
                f"**{verdict.outcome}**" + (f" ({reasons})" if reasons else ""),
                "so far" if so_far else verdict.holds or "–",
                verdict.sentence,
                value_text(verdict),
                bounds_text(verdict.bounds, verdict.strict),
                verdict.source,
                verdict.contradicts or "–",
            )
        )
    lines += ["", *_compared(record)]
    preset = "" if record.preset == "quick" else f" preset={record.preset}"
    seeds = record.settings.get("seeds", ())
    versions = record.versions
    facts = [
        f"`rnnjax reproduce {figure.name}{preset}`",
        f"seeds {', '.join(map(str, seeds))}" if seeds else "no random numbers",
        f"{_seconds(record)} on {record.cores} cores ({record.device})",
        f"jax {versions.get('jax', '?')}, Python {versions.get('python', '?')}",
        f"commit {record.commit[:10]}" if record.commit else "installed package",
    ]
    return [*lines, "", "; ".join(facts) + ".", ""]


def _compared(record: Record) -> list[str]:
    """The table "paper / here / same?", collapsed."""
    if not record.compared:
        return ["A question of our own: no paper's setting to compare with."]
    differ = sum(
        not line.harmless and line.verdict != "yes" for line in record.compared
    )
    lines = [
        f"<details><summary>Setting: of {len(record.compared)} lines {differ} differ "
        "from the paper's in what may matter, or are not known to agree</summary>",
        "",
        "| | paper | here | same? | source |",
        "|---|---|---|---|---|",
    ]
    for line in record.compared:
        lines.append(_row(line.name, line.paper, line.here, line.verdict, line.source))
    return [*lines, "", "</details>"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _seconds(record: Record) -> str:
    worked = _time(record.processor_seconds)
    earlier = ", and that of earlier processes" if record.continued else ""
    return f"{_time(record.seconds)} ({worked} of processor time{earlier})"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds:.3g} s"


def _heading(figure: Figure) -> str:
    return f"{figure.place}. {figure.title}"


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading.

    >>> _anchor("2. A cliff, and its wall")
    '2-a-cliff-and-its-wall'
    """
    kept = [c for c in heading.lower() if c.isalnum() or c in " -_"]
    return "".join(kept).replace(" ", "-")
