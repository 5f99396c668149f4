"""Resolve the values of one job: set, interpolate, check and convert them."""

import copy
import dataclasses
import functools
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnjax.errors import UserError
from rnnjax.sweeps.groups import REGISTRIES, Option, top_fields
from rnnjax.sweeps.hydra_node import HydraNode
from rnnjax.sweeps.hydra_session import sentence
from rnnjax.sweeps.schema import Field, as_text, leaves, unknown_key
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.training.config import InitConfig, RunConfig, options


OLD = {"backprop": {}, "penalty": {"name": "none"}, "lr_schedule": {"name": "constant"}}
"""Nodes that old configurations lack."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """What the jobs with the same choices share.

    Attributes:
        composed: the configuration as Hydra composes it.
        choices: the chosen option of each group.
        hydra: Hydra's own node.
        groups: the options of all groups.
    """

    composed: Mapping[str, Any]
    choices: Mapping[str, str | None]
    hydra: HydraNode
    groups: Mapping[str, Mapping[str, Option]]

    @functools.cached_property
    def fields(self) -> dict[str, Field]:
        """The fields by key, those of the chosen options among them."""
        found = dict(top_fields())
        for group, known in self.groups.items():
            name = self.choices[group]
            assert name is not None
            found |= {field.key: field for field in known[name].fields.values()}
        return found

    @functools.cached_property
    def selectors(self) -> set[str]:
        """The keys that hold the choices of the groups, ``cell.name`` and so on."""
        return {
            f"{group}.{option.selector[0]}"
            for group, known in self.groups.items()
            for option in known.values()
        }

    @functools.cached_property
    def checked(self) -> bytes | None:
        """The values of all fields without entries of a job, in a tree, pickled.

        None if they cannot be checked alone: a value is missing, or refers to another
        one.
        """
        if not _interpolations(self.composed):
            with suppress(UserError):  # each job says what is wrong
                return pickle.dumps(self._checked_with({}))
        return None

    def resolve(
        self, entries: Mapping[str, Any]
    ) -> tuple[dict[str, Any], LaunchSettings]:
        """The configuration of a job with `entries`, by dotted name, set and checked.

        Returns:
            Nested mappings of plain values; and the settings of the launch, which they
            do not contain.

        Raises:
            UserError: a key is unknown, a value does not fit, or an interpolation
                refers to a key that does not exist.
        """
        for key in entries:
            if key not in self.fields:
                raise self.unknown(key)
        if self.checked is None or _interpolations(entries):
            tree = self._checked_with(entries)
        else:
            tree = pickle.loads(self.checked)
            for key, value in entries.items():
                _set(tree, key, self.fields[key].check(value))
        if entries.get("activation") is not None and "cell.activation" in entries:
            raise UserError(
                "activation and cell.activation set the same thing; give only one"
            )
        return tree, _settings(tree)

    def _checked_with(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        tree = copy.deepcopy(dict(self.composed))
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
        group, dot, name = key.partition(".")
        if not (group in self.groups and dot):
            return unknown_key(key, [*self.fields, *self.choices])
        if key in self.selectors:
            return UserError(f"unknown key '{key}'; did you mean {group}?")
        where = f" with {group}={self.choices[group]}"
        options = self.groups[group].items()
        if owners := [one for one, known in options if name in known.fields]:
            owner = f"{group}={' or '.join(sorted(owners, key=len)[:4])}"
            return UserError(f"unknown key '{key}'{where}; it belongs to {owner}")
        return unknown_key(key, self.fields, where)


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
    entries: dict[str, Any] = {}
    for field in dataclasses.fields(RunConfig):
        key = field.name
        if key in REGISTRIES:
            entries[key] = REGISTRIES[key][tree[key]["name"]](**options_of(tree[key]))
        elif key == "init":
            entries[key] = InitConfig(tree[key]["name"], options(options_of(tree[key])))
        elif key in ("cell", "task"):
            entries[key] = tree[key]["name"]
            entries[f"{key}_options"] = options(options_of(tree[key]))
        elif dataclasses.is_dataclass(field.default):
            entries[key] = type(field.default)(**tree[key])
        elif key in tree and key not in entries:
            entries[key] = tree[key]
    return RunConfig(**entries)


def options_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a node, without the name of the chosen option."""
    return {key: value for key, value in node.items() if key != "name"}


def _frozen(value: Any) -> Any:
    """Convert lists, which YAML yields, to tuples, so that the result is hashable."""
    if isinstance(value, Mapping):
        return {key: _frozen(entry) for key, entry in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
