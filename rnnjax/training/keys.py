"""Random keys as a function of (seed, purpose, step), and of nothing else."""

import jax
from jaxtyping import Array, ArrayLike

from rnnjax.training.hyper import Hyper


PARAMS, TRAIN_DATA, DROPOUT = 0, 1, 2
"""Purposes for which random keys are made."""


def key_for(hyper: Hyper, purpose: int, step: Array | int) -> Array:
    """The random key of a purpose at a step."""
    return key_of_seed(hyper.seed, purpose, step)


def key_of_seed(seed: ArrayLike, purpose: int, step: Array | int) -> Array:
    """`key_for` without the other numbers of the run."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), purpose), step)
