"""XLA's options for a program on a CPU, by how often it runs."""

from collections.abc import Mapping

import jax


Options = Mapping[str, str | bool]


def _emitter(new: bool) -> Options:
    """Which of XLA's two ways to make kernels is used, as long as there are two.

    The older one takes half the time to compile. Its kernels take up to twice the time
    to run.
    """
    both = jax.__version_info__ < (0, 11)
    return {"xla_cpu_use_fusion_emitters": new} if both else {}


OFTEN: Options = {"xla_backend_optimization_level": "1", **_emitter(new=True)}
"""For updates, which run thousands of times. Code of level 1 runs as fast here as that
of level 3, and compiles faster."""

SOMETIMES: Options = {"xla_backend_optimization_level": "1", **_emitter(new=False)}
"""For evaluations, which run dozens of times."""

ONCE: Options = {"xla_backend_optimization_level": "0", **_emitter(new=False)}
"""For probes and analyses, which run a few times."""
