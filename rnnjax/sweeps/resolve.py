"""Resolve the values of one job: set, interpolate, check and convert them."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnjax.errors import UserError
from rnnjax.sweeps.groups import Option, top_fields
from rnnjax.sweeps.hydra_session import Composed, sentence
from rnnjax.sweeps.schema import Field, as_text, leaves, unknown_key
from rnnjax.sweeps.settings import (
    CheckpointConfig,
    LauncherConfig,
    LaunchSettings,
    PackConfig,
)


SETTINGS = tuple(field.name for field in dataclasses.fields(LaunchSettings))


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


def resolve(
    composed: Composed,
    entries: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Option]],
) -> Resolved:
    """The composed configuration with `entries` set.

    Args:
        composed: see `Composed`.
        entries: values by dotted name.
        options: generated options by group and name.

    Raises:
        UserError: a key is unknown, a value does not fit, or an interpolation refers
            to a key that does not exist.
    """
    tree = copy.deepcopy(composed.tree)
    tree.pop("sweep", None)
    fields = _fields(composed, options)
    selectors = _selectors(options)
    for key, value in entries.items():
        if key not in fields:
            raise _unknown(key, fields, composed, options)
        _set(tree, key, value)
    flat = leaves(_interpolated(tree))
    for key in flat:
        if key not in fields and key not in selectors:
            raise _unknown(key, fields, composed, options)
    _one_of("activation", "cell.activation", entries)
    for key, field in fields.items():
        _set(tree, key, field.check(flat.get(key, field.default)))
    return Resolved(tree, composed.choices, _settings(tree))


def _fields(
    composed: Composed, options: Mapping[str, Mapping[str, Option]]
) -> dict[str, Field]:
    found = dict(top_fields())
    for group, known in options.items():
        name = composed.choices[group]
        assert name is not None
        found |= {field.key: field for field in known[name].fields.values()}
    return found


def _unknown(
    key: str,
    fields: Mapping[str, Field],
    composed: Composed,
    options: Mapping[str, Mapping[str, Option]],
) -> UserError:
    group, dot, name = key.partition(".")
    if not (group in options and dot):
        return unknown_key(key, [*fields, *composed.choices])
    where = f" with {group}={composed.choices[group]}"
    if key in _selectors(options):
        return UserError(f"unknown key '{key}'; did you mean {group}?")
    owners = [
        option for option, known in options[group].items() if name in known.fields
    ]
    if owners:
        found = " or ".join(sorted(owners, key=len)[:4])
        return UserError(f"unknown key '{key}'{where}; it belongs to {group}={found}")
    return unknown_key(key, fields, where)


def _selectors(options: Mapping[str, Mapping[str, Option]]) -> set[str]:
    """The keys that hold the choices of the groups, ``cell.name`` and so on."""
    return {
        f"{group}.{option.selector[0]}"
        for group, known in options.items()
        for option in known.values()
    }


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def _interpolated(tree: dict[str, Any]) -> dict[str, Any]:
    found = {key: text for key, text in leaves(tree).items() if "${" in as_text(text)}
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


def _one_of(first: str, second: str, entries: Mapping[str, Any]) -> None:
    if entries.get(first) is not None and second in entries:
        raise UserError(f"{first} and {second} set the same thing; give only one")


def _settings(tree: dict[str, Any]) -> LaunchSettings:
    own = {name: tree.pop(name) for name in SETTINGS}
    own["launcher"] = LauncherConfig(**own["launcher"])
    own["pack"] = PackConfig(**own["pack"])
    own["checkpoint"] = CheckpointConfig(**own["checkpoint"])
    return LaunchSettings(**own)
