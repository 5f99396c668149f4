"""The copying task with one-hot inputs, given to a launch as a user's file.

Such a file is executed without a package around it, so it cannot be the figure's own
module, which imports its neighbours.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from rnnjax.tasks.base import Data, TaskSpec
from rnnjax.tasks.copying import SYMBOLS, Copy
from rnnjax.types import Batch


@dataclasses.dataclass(frozen=True)
class OneHotCopy(Copy):
    """Copying memory whose symbols enter as one-hot vectors, as in the paper."""

    def spec(self, data: Data) -> TaskSpec:
        """As in the copying task, but with vector inputs."""
        spec = super().spec(data)
        return dataclasses.replace(spec, vocabulary=None, input_size=SYMBOLS + 2)

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """Fresh sequences."""
        made = super().sample(key, batch, data)
        inputs = jax.nn.one_hot(made.inputs, SYMBOLS + 2, dtype=jnp.float32)
        return dataclasses.replace(made, inputs=inputs)
