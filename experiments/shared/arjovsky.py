"""Networks and training of Arjovsky, Shah & Bengio (2016), which three figures share.

As the authors' code has it: RMSprop, decay 0.9, no epsilon; entries of the gradient
clipped at ±1 but for the unitary network; batches of 20; a learned first state;
Glorot's uniform initialisation, the identity for the IRNN. What differs is in
`setting_lines`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnjax.reproduce.figure import Setting, same


RATE = 1e-3
"""The paper's learning rate, for all networks."""

ACCUMULATOR = 1e-3
"""Where the running mean square of RMSprop starts in the authors' code."""

TRAINING = (
    "optimizer=rmsprop",
    "optimizer.eps=1e-12",
    "optimizer.eps_in_sqrt=false",
    "batch=20",
    "model.learn_initial_state=true",
    "checkpoint.keep=false",
)

SETUP = (
    "RMSprop, rate 10⁻³, batches of 20, gradients of all but the unitary network "
    "clipped at ±1 entry by entry, a learned first state; the table of settings says "
    "what is as in the authors' code and what is not"
)

FIXED = 100_000
"""Training sequences of the paper."""

_CODE = "authors' code"


def setting_lines(
    units: Mapping[str, int],
    updates: int,
    own: Callable[[Any], int],
    batch: tuple[int, str] = (20, "authors' code"),
) -> tuple[Setting, ...]:
    """The table "paper / here / same?" of a figure whose presets have `accumulator`.

    Args:
        units: number of units of each network in the paper.
        updates: number of updates shown in the paper's figure.
        own: maps a preset's settings to the number of updates made here.
        batch: batch size in the paper, and its source.
    """
    sizes = "sizes that an independent re-run copied from the paper"
    return (
        *(
            Setting(f"units ({name})", size, _units(name), sizes)
            for name, size in units.items()
        ),
        same("optimizer", "RMSprop, rate 10⁻³, decay 0.9", _CODE),
        Setting(
            "start of RMSprop's mean square",
            ACCUMULATOR,
            lambda settings: settings.accumulator,
            _CODE,
        ),
        Setting(
            "epsilon of RMSprop",
            0.0,
            lambda settings: 1e-12 if settings.accumulator else "10⁻⁶, within the root",
            _CODE,
            harmless=lambda settings: (
                "only gradients below 10⁻¹¹ would feel it"
                if settings.accumulator
                else ""
            ),
        ),
        same("clipping", "entries at ±1; unitary network: none", _CODE),
        Setting("batch", batch[0], 20, batch[1]),
        same("start of U and V", "Glorot uniform; IRNN: identity", _CODE),
        Setting("start of the read-out", "Glorot uniform", "LeCun normal", _CODE),
        Setting(
            "first state of the unitary network",
            "learned, from U(±√(3/2n))",
            "learned, from zero",
            _CODE,
        ),
        Setting("peepholes of the LSTM", "output gate", "none", _CODE),
        Setting("updates", updates, own, "the figure's axis", budget=True),
        Setting(
            "training sequences",
            "100 000 fixed",
            "fresh",
            _CODE,
            harmless=lambda settings: (
                "none of the 100 000 would have come twice"
                if own(settings) * 20 <= FIXED
                else ""
            ),
        ),
    )


HELDOUT = Setting(
    "held-out sequences",
    10_000,
    lambda settings: settings.heldout,
    _CODE,
    harmless="it is noise of the evaluation alone",
)

ADDING_BATCH = (50, "the paper, as an independent re-run quotes it; its code: 20")
"""What the paper says of the adding problem."""

SHARED = (
    "optimizer",
    "epsilon of RMSprop",
    "start of RMSprop's mean square",
    "clipping",
    "batch",
    "start of U and V",
    "start of the read-out",
    "training sequences",
)
"""Lines that concern every network."""

_OWN = {
    "unitary": ("first state of the unitary network",),
    "LSTM": ("peepholes of the LSTM",),
}


def concerning(*networks: str, more: tuple[str, ...] = ("updates",)) -> tuple[str, ...]:
    """Names of the lines on which a claim about some networks depends."""
    return (*SHARED, *more, *_lines_of(networks))


def starting(*networks: str) -> tuple[str, ...]:
    """Names of the lines on which a ratio of norms in untrained networks depends.

    The initialisation of the readout is not among them: its scale cancels in a ratio,
    and its direction is random in any case.
    """
    return ("start of U and V", *_lines_of(networks))


def _lines_of(networks: Sequence[str]) -> list[str]:
    """Names of the lines that concern only one of these networks."""
    return [
        line for name in networks for line in (f"units ({name})", *_OWN.get(name, ()))
    ]


def _units(name: str) -> Callable[[Any], int | str]:
    return lambda settings: (
        settings.units
        if isinstance(settings.units, int)
        else settings.units.get(name, "not run")
    )


_CLIPPED = ("clipping=value", "clipping.threshold=1.0")

_NETWORKS: dict[str, tuple[str, ...]] = {
    "tanh": ("cell=elman", "cell.recurrent_init=glorot_uniform", *_CLIPPED),
    "IRNN": (
        "cell=elman",
        "activation=relu",
        "cell.recurrent_init=identity",
        # its loss exceeds any bound after the first update, and then recovers
        "loss_bound=1e30",
        *_CLIPPED,
    ),
    "LSTM": ("cell=lstm", "cell.recurrent_init=glorot_uniform", *_CLIPPED),
    "unitary": ("cell=urnn", "clipping=none"),
}


_LARGE = 256
"""Units from which on the factors of a unitary matrix are faster than the matrix."""


def networks(units: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Overrides of the networks for which `units` gives a number of units."""
    made = {}
    for name, size in units.items():
        factors = name == "unitary" and size >= _LARGE
        own = ("cell.factored=true",) if factors else ()
        made[name] = (*_NETWORKS[name], *own, f"model.hidden={size}")
    return made
