"""Convert a resolved configuration to the typed `RunConfig`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from rnnjax.penalties import PENALTIES
from rnnjax.registry import Registry
from rnnjax.training.config import (
    BackpropConfig,
    ClippingConfig,
    EvalConfig,
    InitConfig,
    ModelConfig,
    ProbeConfig,
    RunConfig,
    options,
)
from rnnjax.training.optimizers import OPTIMIZERS
from rnnjax.training.schedules import SCHEDULES


T = TypeVar("T")


def run_config(tree: Mapping[str, Any]) -> RunConfig:
    """The `RunConfig` of a resolved configuration, as stored in ``config.yaml``."""
    tree = _frozen(tree)
    known = {field.name for field in dataclasses.fields(RunConfig)}
    scalars = {key: value for key, value in tree.items() if key in known}
    init = tree["init"]
    return RunConfig(
        **scalars
        | {
            "cell": tree["cell"]["name"],
            "cell_options": options(options_of(tree["cell"])),
            "task": tree["task"]["name"],
            "task_options": options(options_of(tree["task"])),
            "init": InitConfig(init["name"], options(options_of(init))),
            "model": ModelConfig(**tree["model"]),
            "optimizer": _chosen(OPTIMIZERS, tree["optimizer"]),
            "clipping": ClippingConfig(**tree["clipping"]),
            # old configurations have none
            "penalty": _chosen(PENALTIES, tree.get("penalty", {"name": "none"})),
            "backprop": BackpropConfig(**tree.get("backprop", {})),
            "lr_schedule": _chosen(
                SCHEDULES, tree.get("lr_schedule", {"name": "constant"})
            ),
            "probe": ProbeConfig(**tree["probe"]),
            "eval": EvalConfig(**tree["eval"]),
        }
    )


def _chosen(registry: Registry[type[T]], node: Mapping[str, Any]) -> T:
    return registry[node["name"]](**options_of(node))


def options_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a node, without the name of the chosen option."""
    return {key: value for key, value in node.items() if key != "name"}


def _frozen(value: Any) -> Any:
    """Convert lists, which YAML yields, to tuples, so that the result is hashable."""
    if isinstance(value, Mapping):
        return {key: _frozen(entry) for key, entry in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
