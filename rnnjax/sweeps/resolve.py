"""Resolve the values of one job: set, interpolate, check and convert them."""

import copy
import dataclasses
import pickle
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnjax.errors import UserError
from rnnjax.sweeps.groups import REGISTRIES, Option, top_fields
from rnnjax.sweeps.hydra_session import Composed, sentence
from rnnjax.sweeps.schema import Field, as_text, leaves, unknown_key
from rnnjax.sweeps.settings import LaunchSettings
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


RECORDS = {
    "backprop": BackpropConfig,
    "clipping": ClippingConfig,
    "eval": EvalConfig,
    "model": ModelConfig,
    "probe": ProbeConfig,
}
"""Nodes of a configuration that are a record of `RunConfig` as they are."""

OLD = {"backprop": {}, "penalty": {"name": "none"}, "lr_schedule": {"name": "constant"}}
"""Nodes that old configurations lack."""


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A checked configuration.

    Attributes:
        tree: nested mappings of plain values, without the settings of the launch.
        choices: the chosen option of each group.
        settings: settings of the launch.
    """

    tree: dict[str, Any]
    choices: Mapping[str, str | None]
    settings: LaunchSettings


@dataclasses.dataclass(frozen=True)
class Frame:
    """What the jobs with the same choices share.

    Attributes:
        composed: the configuration as Hydra composes it.
        groups: the options of all groups.
        fields: the fields by key, those of the chosen options among them.
        selectors: the keys that hold the choices of the groups, such as `cell.name`.
        checked: the values of all fields without entries of a job, in a tree, pickled;
            None if they cannot be checked alone: a value is missing, or refers to
            another one.
    """

    composed: Composed
    groups: Mapping[str, Mapping[str, Option]]
    fields: Mapping[str, Field]
    selectors: Set[str]
    checked: bytes | None = None

    @classmethod
    def of(
        cls, composed: Composed, groups: Mapping[str, Mapping[str, Option]]
    ) -> "Frame":
        """The frame of a composed configuration."""
        fields = _fields(composed, groups)
        found = cls(composed, groups, fields, _selectors(groups))
        if not _interpolations(composed.tree):
            with suppress(UserError):  # each job says what is wrong
                tree = found.tree({})
                return dataclasses.replace(found, checked=pickle.dumps(tree))
        return found

    def tree(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """The tree of checked values, with `entries`; errors are those of `resolve`."""
        for key in entries:
            if key not in self.fields:
                raise self.unknown(key)
        if self.checked is not None and not _interpolations(entries):
            tree = pickle.loads(self.checked)
            for key, value in entries.items():
                _set(tree, key, self.fields[key].check(value))
            return tree
        tree = copy.deepcopy(self.composed.tree)
        tree.pop("sweep", None)
        for key, value in entries.items():
            _set(tree, key, value)
        flat = leaves(_interpolated(tree))
        for key in flat:
            if key not in self.fields and key not in self.selectors:
                raise self.unknown(key)
        for key, field in self.fields.items():
            _set(tree, key, field.check(flat.get(key, field.default)))
        return tree

    def unknown(self, key: str) -> UserError:
        """The error for a key that is not among the fields."""
        return _unknown(key, self.fields, self.composed, self.groups)


def resolve(frame: Frame, entries: Mapping[str, Any]) -> Resolved:
    """The composed configuration with `entries`, by dotted name, set and checked.

    Raises:
        UserError: a key is unknown, a value does not fit, or an interpolation refers
            to a key that does not exist.
    """
    tree = frame.tree(entries)
    if entries.get("activation") is not None and "cell.activation" in entries:
        raise UserError(
            "activation and cell.activation set the same thing; give only one"
        )
    return Resolved(tree, frame.composed.choices, _settings(tree))


def _fields(
    composed: Composed, groups: Mapping[str, Mapping[str, Option]]
) -> dict[str, Field]:
    found = dict(top_fields())
    for group, known in groups.items():
        name = composed.choices[group]
        assert name is not None
        found |= {field.key: field for field in known[name].fields.values()}
    return found


def _unknown(
    key: str,
    fields: Mapping[str, Field],
    composed: Composed,
    groups: Mapping[str, Mapping[str, Option]],
) -> UserError:
    group, dot, name = key.partition(".")
    if not (group in groups and dot):
        return unknown_key(key, [*fields, *composed.choices])
    where = f" with {group}={composed.choices[group]}"
    if key in _selectors(groups):
        return UserError(f"unknown key '{key}'; did you mean {group}?")
    owners = [one for one, known in groups[group].items() if name in known.fields]
    if owners:
        found = " or ".join(sorted(owners, key=len)[:4])
        return UserError(f"unknown key '{key}'{where}; it belongs to {group}={found}")
    return unknown_key(key, fields, where)


def _selectors(groups: Mapping[str, Mapping[str, Option]]) -> set[str]:
    """The keys that hold the choices of the groups, ``cell.name`` and so on."""
    return {
        f"{group}.{option.selector[0]}"
        for group, known in groups.items()
        for option in known.values()
    }


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def _interpolations(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: text for key, text in leaves(tree).items() if "${" in as_text(text)}


def _interpolated(tree: dict[str, Any]) -> dict[str, Any]:
    found = _interpolations(tree)
    if not found:
        return tree
    for key, text in found.items():
        with _naming(key, text):  # fails if the text cannot be parsed
            OmegaConf.create([text])
    config = OmegaConf.create(tree)
    for key, text in found.items():
        with _naming(key, text):
            value = OmegaConf.select(config, key, throw_on_missing=True)
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True)
        _set(tree, key, value)
    return tree


@contextmanager
def _naming(key: str, text: Any) -> Iterator[None]:
    """Turn errors in an interpolation into a `UserError` that names its key."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise UserError(f"{key}={as_text(text)}: {sentence(error)}") from None
    except RecursionError:
        raise UserError(f"{key}={as_text(text)}: it is nested too deeply") from None


def _settings(tree: dict[str, Any]) -> LaunchSettings:
    own: dict[str, Any] = {}
    for field in dataclasses.fields(LaunchSettings):
        value, kind = tree.pop(field.name), cast(Any, type(field.default))
        own[field.name] = kind(**value) if isinstance(value, dict) else value
    return LaunchSettings(**own)


def run_config(tree: Mapping[str, Any]) -> RunConfig:
    """The `RunConfig` of a resolved configuration, as stored in ``config.yaml``."""
    tree = OLD | _frozen(tree)
    known = {field.name for field in dataclasses.fields(RunConfig)}
    entries: dict[str, Any] = {key: tree[key] for key in tree.keys() & known}
    entries |= {key: kind(**tree[key]) for key, kind in RECORDS.items()}
    for key in ("cell", "task"):
        entries |= {
            key: tree[key]["name"],
            f"{key}_options": options(options_of(tree[key])),
        }
    for key, registry in REGISTRIES.items():
        entries[key] = registry[tree[key]["name"]](**options_of(tree[key]))
    entries["init"] = InitConfig(
        tree["init"]["name"], options(options_of(tree["init"]))
    )
    return RunConfig(**entries)


def options_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a node, without the name of the chosen option."""
    return {key: value for key, value in node.items() if key != "name"}


def _frozen(value: Any) -> Any:
    """Convert lists, which YAML yields, to tuples, so that the result is hashable."""
    if isinstance(value, Mapping):
        return {key: _frozen(entry) for key, entry in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
