"""``rnnjax probe FILE.py:LOSS``: measure a loss that is a function of the user's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.cli.members import load_file, member
from rnnjax.cli.probing import PROBES, figures_folder, write
from rnnjax.errors import UserError


def probe_file(path: str, name: str, options: Sequence[str]) -> int:
    """Measure every loop of a function of a file; write a data set and a page.

    The arguments come from the function ``LOSS_args()`` of the same file; the first of
    them holds the parameters.

    Args:
        path: the file.
        name: the function, which returns a loss.
        options: ``out=DIR``, the pool; by default ``runs``.

    Raises:
        UserError: there is no such file or function, the function cannot be measured,
            or its loops have different lengths, for which there is no page.
    """
    from rnnjax.analysis.any_program import probe_loss
    from rnnjax.terminal import console

    out = "runs"
    for option in options:
        key, _, value = option.partition("=")
        if key != "out" or not value:
            raise UserError(f"'{option}': a function takes no setting but out=DIR")
        out = value
    asked = f"{path}:{name}"
    module = load_file(path, asked)
    loss: Any = member(module, path, name)
    make: Any = member(module, path, f"{name}_args")
    if not all(map(callable, (loss, make))):
        raise UserError(f"{asked} and {name}_args must be functions")
    data = probe_loss(loss, *make())
    console().print(data.attrs["loops"], soft_wrap=True, markup=False)
    if "last_step" not in data:
        raise UserError(
            "the loops have different lengths, and a page shows one length; "
            "rnnjax.probe in Python gives the numbers"
        )
    folder = figures_folder(Path(out), PROBES, f"{Path(path).stem}-{name}")
    return write(data, folder, f"{name} of {path}", data.attrs["loops"])
