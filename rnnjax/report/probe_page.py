"""The page of one probe data set: figures, what they say, and all definitions."""

from pathlib import Path
from typing import Any

import xarray as xr

from rnnjax.report.explosion import explosion
from rnnjax.report.grids import Grid, plain
from rnnjax.report.probe_figures import INSTRUMENTS
from rnnjax.report.probe_summary import legend, summary
from rnnjax.report.style import fill, save_svg
from rnnjax.store.atomic import make_folder, write_text


PAGE, FIGURES = "probe.html", "figures"

HALF = 6.6
"""Inches of a figure that shares a row of the page with another."""


SYMBOLS = (
    ("s, t, lag", "the last loss step, a time step, and s − t"),
    ("T, B, N", "steps of a sentence, examples of the batch, entries of the state"),
    ("h_t", "the state after step t; joint: all state arrays (of an LSTM h and c)"),
    ("λ₁ on stationary input", "the leading Lyapunov exponent, not an adjoint"),
    ("λ_t", "the lagged adjoint ∂ℓ_s/∂h_t, ℓ_s being the loss at step s alone"),
    (
        "‖λ_s‖",
        "the largest ‖λ‖ of an example at lags 0 to 5: the gradient near the loss",
    ),
    ("J, P", "the Jacobian ∂h_t/∂h_{t−1} of one step, and the product of all of them"),
    ("V, U, b", "weights from the input, weights from the state, biases"),
    ("φ′, δ", "slopes of the activations; the adjoint behind them, φ′ ⊙ λ"),
    (
        "G_t, G",
        "what step t gives to a parameter's gradient, and the sum over all steps",
    ),
    ("k₉₀", "the least number of last steps that hold 90 % of Σ‖G_t‖"),
)
"""What the letters of the page stand for."""


def write_page(
    data: xr.Dataset,
    folder: Path,
    title: str,
    subtitle: str,
    training: xr.Dataset | None = None,
) -> Path:
    """Write ``probe.html``, which needs no network, and ``figures/`` beside it.

    Equal data sets give equal bytes.

    Args:
        data: data set of `rnnjax probe` or `rnnjax.probe`, or a run's ``probes.nc``.
        folder: made if it is not there.
        title, subtitle: what was probed.
        training: the ``probes.nc`` of the run that `data` is a moment of.

    Returns:
        The path of the page.

    Raises:
        UserError: a file cannot be written.
    """
    folder = Path(folder)
    make_folder(folder / FIGURES, folder)
    figures = []
    for one in INSTRUMENTS:
        source = training if one.during_training and training is not None else data
        figure = one.draw(source)
        if figure is None:
            # of an earlier page
            (folder / FIGURES / f"{one.name}.svg").unlink(missing_ok=True)
            continue
        svg = save_svg(figure, one.name, folder / FIGURES)
        figures.append((one, one.say(source), svg, figure.get_figwidth() > HALF))
    text = fill(
        "probe.html",
        title=title,
        subtitle=subtitle,
        explosion=explosion(data),
        numbers=plain("numbers-table", ("quantity", "value"), summary(data)),
        legend=legend(data),
        symbols=SYMBOLS,
        figures=figures,
        variables=variables(data),
        colours={},
    )
    write_text(folder / PAGE, text)
    return folder / PAGE


def variables(data: xr.Dataset) -> Grid:
    """Every variable with its axes, units and definition, from the attributes."""
    rows = []
    for name in sorted(map(str, data.data_vars)):
        values = data[name]
        about: dict[str, Any] = dict(values.attrs)
        definition, units = (str(about.pop(k, "")) for k in ("definition", "units"))
        more = [f"{k}: {v}" for k, v in about.items()]
        rows.append(
            (
                name,
                " × ".join(f"{dim} {size}" for dim, size in values.sizes.items()),
                units,
                f"{definition} ({', '.join(more)})" if more else definition,
            )
        )
    return plain("variables-table", ("variable", "axes", "units", "definition"), rows)
