"""Networks and training of Arjovsky, Shah & Bengio (2016), which three figures share.

As the authors' code has it: RMSprop, decay 0.9, no epsilon; entries of the gradient
clipped at ±1 but for the unitary network; batches of 20; a learned first state;
Glorot's uniform initialisation, the identity for the IRNN.
"""

from collections.abc import Mapping


RATE = 1e-3
"""The paper's learning rate, for all networks."""

ACCUMULATOR = 1e-3
"""Where the running mean square of RMSprop starts in the authors' code."""

TRAINING = (
    "optimizer=rmsprop",
    "optimizer.eps=1e-12",
    "batch=20",
    "model.learn_initial_state=true",
    "checkpoint.keep=false",
)

SETUP = (
    "RMSprop, rate 10⁻³, batches of 20, gradients of all but the unitary network "
    "clipped at ±1 entry by entry, a learned first state, as in the authors' code. "
    "Fresh sequences in place of 100 000 fixed ones; no peepholes in the LSTM (forget "
    "bias 1)"
)

_CLIPPED = ("remedy=clip_value", "remedy.threshold=1.0")

_NETWORKS: dict[str, tuple[str, ...]] = {
    "tanh": ("cell=elman", "cell.recurrent_init=glorot_uniform", *_CLIPPED),
    "IRNN": (
        "cell=elman",
        "activation=relu",
        "cell.recurrent_init=identity",
        # its loss passes any bound after the first update, and comes back
        "loss_bound=1e30",
        *_CLIPPED,
    ),
    "LSTM": ("cell=lstm", "cell.recurrent_init=glorot_uniform", *_CLIPPED),
    "unitary": ("cell=urnn", "remedy=none"),
}


_LARGE = 256
"""Units from which on the factors of a unitary matrix are faster than the matrix."""


def networks(units: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Overrides of the networks that `units` gives a number of units."""
    made = {}
    for name, size in units.items():
        factors = name == "unitary" and size >= _LARGE
        own = ("cell.factored=true",) if factors else ()
        made[name] = (*_NETWORKS[name], *own, f"model.hidden={size}")
    return made
