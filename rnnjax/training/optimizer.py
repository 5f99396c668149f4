"""Update rules with numeric hyper-parameters as arrays.

Built from optax's transformations with a traced learning rate, which equals the plain
optimizers bit for bit (`inject_hyperparams` does not).
"""

import math

import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt32

from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.training.config import OptimizerConfig
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
        momentum, b1, b2, decay, eps, initial_scale: of the optimizer.
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
    initial_scale: Float[Array, ""]
    loss_bound: Float[Array, ""]
    cell: dict[str, Float[Array, ""]]
    lag: Int[Array, ""] | None = None


MOMENTS = {"sgd": 0, "momentum": 1, "adam": 2, "rmsprop": 1, "rmsprop_outside": 1}
"""Arrays of the size of the parameters that each rule keeps."""


def transformation(name: str, hyper: Hyper) -> optax.GradientTransformation:
    """The update rule `name` with the numbers of `hyper`.

    Args:
        name: `OptimizerConfig.rule`; the formulas stand at `OptimizerConfig`.
            `rmsprop_outside` has its ε outside the root.
        hyper: see `Hyper`.
    """
    rate = optax.scale_by_learning_rate(hyper.lr)
    if name == "sgd":
        return rate
    if name == "momentum":
        return optax.chain(optax.trace(hyper.momentum), rate)
    if name == "adam":
        return optax.chain(optax.scale_by_adam(hyper.b1, hyper.b2, hyper.eps), rate)
    if name in ("rmsprop", "rmsprop_outside"):
        numbers = hyper.decay, hyper.eps, hyper.initial_scale
        inside = name == "rmsprop"
        return optax.chain(optax.scale_by_rms(*numbers, eps_in_sqrt=inside), rate)
    raise ValueError(f"no optimizer {name!r}")


def first_update(config: OptimizerConfig) -> FirstUpdate:
    """What the first update of a rule divides the gradient by, up to a factor.

    Adam's means without bias are g and g² then; the mean of RMSProp is
    ρ v₀ + (1 − ρ) g².
    """
    if config.name in ("sgd", "momentum"):
        return FirstUpdate("1", plain=True)
    if config.name == "adam":
        return FirstUpdate(f"1 / (|G| + {config.eps:g})", beside=config.eps)
    new, old = 1 - config.decay, config.decay * config.initial_scale
    mean = f"{new:g} |G|^2" + (f" + {old:g}" if old else "")
    if config.eps_in_sqrt:
        root = math.sqrt((old + config.eps) / new)
        return FirstUpdate(f"1 / sqrt({mean} + {config.eps:g})", root)
    root, beside = math.sqrt(old / new), config.eps / math.sqrt(new)
    return FirstUpdate(f"1 / (sqrt({mean}) + {config.eps:g})", root, beside)
