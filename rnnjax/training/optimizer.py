"""Update rules with numeric hyper-parameters as arrays.

Built from optax's transformations with a traced learning rate, which equals the plain
optimizers bit for bit (`inject_hyperparams` does not).
"""

import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt32

from rnnjax.training.penalty import Strength
from rnnjax.training.rate import Rate


@struct.dataclass
class Hyper:
    """Numeric hyper-parameters of a run: inputs of the compiled program.

    Attributes:
        seed: of parameters, data and dropout.
        lr: learning rate η.
        rate: how it goes on.
        threshold: of the remedy.
        penalty: of the penalty.
        momentum, b1, b2, decay, eps: of the optimizer.
        loss_bound: a larger loss counts as divergence.
        cell: numeric fields of the cell by name.
        lag: K of a cut back-propagation, None for other rules.
    """

    seed: UInt32[Array, ""]
    lr: Float[Array, ""]
    rate: Rate
    threshold: Float[Array, ""]
    penalty: Strength
    momentum: Float[Array, ""]
    b1: Float[Array, ""]
    b2: Float[Array, ""]
    decay: Float[Array, ""]
    eps: Float[Array, ""]
    loss_bound: Float[Array, ""]
    cell: dict[str, Float[Array, ""]]
    lag: Int[Array, ""] | None = None


def transformation(name: str, hyper: Hyper) -> optax.GradientTransformation:
    """The update rule `name` with the numbers of `hyper`.

    `sgd`: w_new = w_old − η ∂L/∂w. `momentum`: a velocity v ← μ v + g and w −= η v.
    `adam`, `rmsprop`: as optax.
    """
    rate = optax.scale_by_learning_rate(hyper.lr)
    if name == "sgd":
        return rate
    if name == "momentum":
        return optax.chain(optax.trace(hyper.momentum), rate)
    if name == "adam":
        return optax.chain(optax.scale_by_adam(hyper.b1, hyper.b2, hyper.eps), rate)
    if name == "rmsprop":
        return optax.chain(optax.scale_by_rms(hyper.decay, hyper.eps), rate)
    raise ValueError(f"no optimizer {name!r}")
