"""The interface to Hydra: the configuration folder, and composing configurations."""

import contextlib
import copy
import dataclasses
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnjax.errors import UserError, one_line
from rnnjax.paths import shipped_folder, user_path
from rnnjax.sweeps.groups import Option, group_options
from rnnjax.sweeps.hydra_node import HydraNode
from rnnjax.sweeps.quoting import quoted
from rnnjax.sweeps.user_files import UserFile, load
from rnnjax.sweeps.yaml_files import check_yaml


YAML_GROUPS = ("variant", "experiment")
"""Groups whose options are files, from this package and from the user."""


Choices = dict[str, str | None]
"""The chosen option of each group."""


@dataclasses.dataclass(frozen=True)
class Session:
    """An initialized Hydra; make one with `session`.

    Attributes:
        options: generated options by group and name.
        folders: folders of YAML files, the user's first.
        files: the user's files, by kind and by the name of the registered class.
    """

    options: dict[str, dict[str, Option]]
    folders: tuple[Path, ...]
    files: dict[tuple[str, str], UserFile] = dataclasses.field(default_factory=dict)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of all groups."""
        return (*self.options, *YAML_GROUPS)

    def names(self, group: str, results_filter: Any = None) -> list[str]:
        """Names of the options of a group, sorted; Hydra's ``glob(*)`` calls this."""
        if group in self.options:
            return sorted(self.options[group])
        files = [f for folder in self.folders for f in (folder / group).glob("*.yaml")]
        return sorted({file.stem for file in files})

    def file(self, group: str, name: str) -> Path:
        """The file of an option in a group of YAML files."""
        files = (folder / group / f"{name}.yaml" for folder in self.folders)
        return next(file for file in files if file.is_file())

    get_group_options = names

    def load(self, kind: str, path: str, name: str) -> None:
        """Register the class `name` in a user's file as an option of cell or task.

        Raises:
            UserError: as `user_files.load`, or another file in this session defines a
                class of the same name.
        """
        file = load(kind, path, name)
        known = self.files.setdefault((kind, file.name), file)
        if known.path != file.path:
            raise UserError(
                f"{known.path} and {file.path} both define {kind} {file.name}; "
                "give one of them another name"
            )
        self.options.update(group_options())
        _store(self.options)

    def compose(
        self,
        choices: Mapping[str, str],
        own: Sequence[str] = (),
        rest: Sequence[str] = (),
    ) -> tuple[dict[str, Any], Choices, HydraNode]:
        """Compose the configuration with these options, and defaults for other groups.

        Args:
            choices: options by group.
            own: overrides of Hydra's own node.
            rest: the other overrides of the command, which are recorded in that node.

        Returns:
            The configuration as nested plain values, its interpolations not resolved;
            the chosen option of each group; and Hydra's own node.

        Raises:
            UserError: a YAML file is invalid or names an option that does not exist,
                or an override of Hydra's node does not fit.
        """
        overrides = [f"{group}={quoted(name)}" for group, name in choices.items()]
        users = [f"file://{folder}" for folder in self.folders[:-1]]
        overrides += [*own, f"hydra.searchpath={quoted(users)}"]
        try:
            if users or own:  # which may name files anywhere
                chosen, tree = _composed(overrides)
            else:
                chosen, tree = self._remembered(overrides)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            raise UserError(sentence(error)) from None
        except Exception as error:  # from Hydra, if a file has unexpected content
            deep = isinstance(error, RecursionError)
            said = "it is nested too deeply, or includes itself" if deep else ""
            files = [f"{key}={choices[key]}" for key in YAML_GROUPS if key in choices]
            what = " ".join(files) or "the configuration"
            raise UserError(
                f"cannot compose {what}: {said or one_line(error)}"
            ) from error
        node = tree.pop("hydra")
        # We choose the launcher with a group of ours, not with Hydra's own default.
        node["launcher"] = {"name": chosen["launcher"]}
        node["runtime"]["choices"]["hydra/launcher"] = chosen["launcher"]
        node["overrides"]["task"] = list(rest)
        kept = {group: chosen.get(group) for group in self.groups}
        return tree, kept, HydraNode(node)

    def _remembered(self, overrides: Sequence[str]) -> tuple[Choices, dict[str, Any]]:
        """`_composed`, once in a process for everything that decides the result."""
        files = sorted(self.folders[-1].rglob("*.yaml"))
        contents = tuple((file, file.read_bytes()) for file in files)
        key = tuple(overrides), _text(self.options), contents, os.getcwd()
        if key not in _KNOWN:
            if len(_KNOWN) == MOST:
                del _KNOWN[next(iter(_KNOWN))]
            _KNOWN[key] = _composed(overrides)
        return copy.deepcopy(_KNOWN[key])


MOST = 32
"""Compositions that a process remembers; each takes .1 s or more, and some 100 KB."""

_KNOWN: dict[Any, tuple[Choices, dict[str, Any]]] = {}


def _composed(overrides: Sequence[str]) -> tuple[Choices, dict[str, Any]]:
    """The chosen option of each group, and the whole configuration as plain values."""
    config = compose("config", list(overrides), return_hydra_config=True)
    tree = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(tree, dict)
    chosen = dict(config.hydra.runtime.choices)
    return chosen, {str(key): value for key, value in tree.items()}


_ALONE = threading.RLock()
"""A lock, because all threads share Hydra's global state."""


@contextlib.contextmanager
def session(config_dir: str | Path | None = None) -> Iterator[Session]:
    """A context with Hydra initialized; an enclosing application's state is restored.

    `config_dir` is a folder with the user's own variants and experiments.

    Raises:
        UserError: the folder does not exist, or a file in it is not safe to read.
    """
    folders = (shipped_folder("conf"),)
    if config_dir is not None:
        own = user_path(config_dir, f"'{config_dir}' is not a folder").resolve()
        if not own.is_dir():
            raise UserError(f"there is no folder {config_dir}")
        folders = (own, *folders)
        for group in YAML_GROUPS:
            for file in sorted((own / group).glob("*.yaml")):
                check_yaml(file)
    with _ALONE:
        options = group_options()
        store = ConfigStore.instance()
        outside = {group: store.repo.pop(group, None) for group in options}
        _store(options)
        instance = GlobalHydra.instance()
        outer, instance.hydra = instance.hydra, None
        try:
            with initialize_config_dir(str(folders[-1]), "rnnjax", version_base="1.3"):
                yield Session(options, folders)
        finally:
            GlobalHydra.instance().hydra = outer
            # In the enclosing application, `cell` may be a plain key or another group.
            for group, entries in outside.items():
                del store.repo[group]
                if entries is not None:
                    store.repo[group] = entries


Options = Mapping[str, Mapping[str, Option]]
"""Generated options by group and name."""


def _store(options: Options) -> None:
    """Put the generated options into Hydra's store.

    Hydra checks each of them. The checked nodes are reused while the options stay the
    same.
    """
    store, text = ConfigStore.instance(), _text(options)
    if _STORED.get("text") != text:
        for group, entries in options.items():
            for name, option in entries.items():
                store.store(group=group, name=name, node=option.node, provider="rnnjax")
        _STORED.update(text=text, groups={g: dict(store.repo[g]) for g in options})
    store.repo.update({g: dict(nodes) for g, nodes in _STORED["groups"].items()})


_STORED: dict[str, Any] = {}
"""The last options as text, and the nodes that Hydra made of them, by group."""


def _text(options: Options) -> str:
    """The options as text, in which 1, 1.0 and True differ."""
    nodes = {g: {n: x.node for n, x in named.items()} for g, named in options.items()}
    return repr(nodes)


def sentence(error: Exception) -> str:
    """The message of an error from Hydra or YAML, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    stop = ("Available options", "Config search path", "See http", "full_key:")
    kept: list[str] = []
    for line in lines:
        if line.startswith(stop):
            break
        kept.append(line)
    said = re.sub(r"^\w+ raised while resolving interpolation: ", "", "; ".join(kept))
    return said.replace(":; ", ": ") or type(error).__name__
