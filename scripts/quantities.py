"""Write ``docs/quantities.md``: every quantity with its axes, units and definition.

python -m scripts.quantities
"""

from pathlib import Path

from rnnjax.quantities import COORDINATES, SUBJECTS, Quantity


DOCUMENT = Path(__file__).parents[1] / "docs" / "quantities.md"

HEAD = """\
# Quantities

Everything that rnnjax measures, as `rnnjax/quantities` declares it. Data sets carry
these definitions as attributes, and `rnnjax list quantities` prints them. This page is
written by `python -m scripts.quantities`.

Axes are those within one recurrence or, for parameters, within the network; a data set
has `train_step` and `layer` in front where they apply. `-inf` is an exact zero, and NaN
is padding or no number because the network exploded, unless the definition says
otherwise.
"""


def document() -> str:
    """The text of the page."""
    parts = [HEAD]
    for subject, quantities in SUBJECTS.items():
        parts.append(f"\n## {subject.capitalize()}\n")
        parts.append("| name | axes | units | definition | computed by |")
        parts.append("|---|---|---|---|---|")
        parts += [_row(name, one) for name, one in quantities.items()]
    parts.append("\n## Axes\n")
    parts += ["| axis | what is counted |", "|---|---|"]
    parts += [f"| `{name}` | {text} |" for name, text in COORDINATES.items()]
    return "\n".join(parts) + "\n"


def _row(name: str, quantity: Quantity) -> str:
    axes = ", ".join(f"`{dim}`" for dim in quantity.dims) or "–"
    definition = quantity.definition.replace("|", "\\|")
    by = f"`probes.{quantity.by}`" if quantity.by else "–"
    return f"| `{name}` | {axes} | {quantity.units} | {definition} | {by} |"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
