"""``rnnjax probe FILE.py:LOSS``: measure a loss that is a function of the user's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.cli.members import load_file, member
from rnnjax.cli.probing import PROBES, figures_folder, write
from rnnjax.errors import UserError, did_you_mean


OPTIONS = ("out", "sections", "unroll", "examples")
"""What can be set for a function."""


def probe_file(path: str, name: str, options: Sequence[str]) -> int:
    """Measure every loop of a function of a file; write a data set and a page.

    The arguments come from the function ``LOSS_args()`` of the same file; the first of
    them holds the parameters.

    Args:
        path: the file.
        name: the function, which returns a loss.
        options: ``out=DIR``, the pool, by default ``runs``; ``sections=``, ``unroll=``
            and ``examples=``, see `probe_loss`.

    Raises:
        UserError: there is no such file or function, the function cannot be measured,
            its loops have different lengths, for which there is no page, or an option
            is unknown.
    """
    from rnnjax.analysis.any_program import probe_loss
    from rnnjax.terminal import console

    given = dict(_parsed(option) for option in options)
    out = given.pop("out", "runs")
    asked = f"{path}:{name}"
    module = load_file(path, asked)
    loss: Any = member(module, path, name)
    make: Any = member(module, path, f"{name}_args")
    if not all(map(callable, (loss, make))):
        raise UserError(f"{asked} and {name}_args must be functions")
    data = probe_loss(loss, *make(), **given)
    console().print(data.attrs["loops"], soft_wrap=True, markup=False)
    if "last_step" not in data:
        raise UserError(
            "the loops have different lengths, and a page shows one length; "
            "rnnjax.probe in Python gives the numbers"
        )
    folder = figures_folder(Path(out), PROBES, f"{Path(path).stem}-{name}")
    return write(data, folder, f"{name} of {path}", data.attrs["loops"])


def _parsed(option: str) -> tuple[str, Any]:
    """A key and its value."""
    key, _, text = option.partition("=")
    if key not in OPTIONS or not text:
        known = did_you_mean(key, OPTIONS)
        raise UserError(f"'{option}' is no setting of a function; {known}")
    if key in ("sections", "unroll"):
        return key, [name.strip() for name in text.split(",")]
    if key == "examples":
        if not text.isdecimal():
            raise UserError(f"'{option}': examples is a whole number")
        return key, int(text)
    return key, text
