"""Hydra's own node of a job's configuration, and the folder ``.hydra`` of a run.

`hydra.main` writes three files for a job, which Hydra's tools and users read. Here they
are written without OmegaConf, which would take 20 ms per job to produce their text. The
jobs of a sweep share most of the node, so that part of the text is made only once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from rnnjax.paths import read_file
from rnnjax.store.atomic import make_folder, writable, write_bytes
from rnnjax.store.rundir import CONFIG, HYDRA, HYDRA_FILES, RunDir


OWN = ("run", "sweep", "job", "overrides", "runtime")
"""Keys of the node that differ between the jobs of a sweep."""

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclasses.dataclass(frozen=True)
class HydraNode:
    """The node ``hydra`` shared by jobs with the same options of all groups.

    Interpolations in it are not resolved.

    Attributes:
        entries: plain values; ``overrides.task`` holds the overrides of the command.
    """

    entries: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def callbacks(self) -> Mapping[str, Any]:
        """The callbacks by name; those that are null are left out."""
        found = self.entries.get("callbacks") or {}
        return {name: node for name, node in found.items() if node is not None}

    @property
    def multirun(self) -> bool:
        """Whether the command is a sweep."""
        return self.entries.get("mode") == "MULTIRUN"

    def of_pool(self, pool: Path) -> dict[str, Any]:
        """The node of the sweep itself, whose run directories are in `pool`."""
        sweep = {**self.entries.get("sweep", {}), "dir": str(pool.absolute())}
        return {**self.entries, "sweep": sweep}

    def of(self, number: int, overrides: Sequence[str], path: Path) -> dict[str, Any]:
        """The node of a job: its index in the sweep, own overrides, run directory."""
        return {**self.entries, **self._own(number, overrides, path)}

    def text(self, number: int, overrides: Sequence[str], path: Path) -> str:
        """The result of `of` as YAML, under the key ``hydra``."""
        own = _yaml({"hydra": self._own(number, overrides, path)})
        return self._common + own.partition("\n")[2]

    @cached_property
    def _common(self) -> str:
        rest = {key: node for key, node in self.entries.items() if key not in OWN}
        return _yaml({"hydra": rest}) if rest else "hydra:\n"

    def _own(self, number: int, overrides: Sequence[str], path: Path) -> dict[str, Any]:
        path = path.absolute()
        known = {key: dict(self.entries.get(key, {})) for key in OWN}
        known["run"] |= {"dir": str(path)}
        known["sweep"] |= {"dir": str(path.parent), "subdir": path.name}
        named = {"override_dirname": ",".join(overrides)}
        known["job"] |= named | {"id": str(number), "num": number}
        known["overrides"] |= {"task": list(overrides)}
        known["runtime"] |= {"output_dir": str(path)}
        return known


def write_folder(
    run: RunDir, node: HydraNode, number: int, overrides: Sequence[str]
) -> None:
    """Write ``.hydra/``: the run's own configuration, its overrides, Hydra's node.

    The files are not flushed to disk, because the manifest and ``config.yaml`` hold the
    same information.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = run.path / HYDRA
    make_folder(folder, run.path)
    with writable(folder):
        config = read_file(run.path / CONFIG)
    texts = _yaml(list(overrides)), node.text(number, overrides, run.home)
    contents = config, *(text.encode() for text in texts)
    for name, content in zip(HYDRA_FILES, contents, strict=True):
        write_bytes(folder / name, content, durable=False)


def _yaml(tree: Any) -> str:
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
