"""A run directory: a few files, sealed by the manifest, which is written last."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import xarray as xr

from rnnjax.errors import UserError, one_line
from rnnjax.paths import read_file
from rnnjax.store import plain_yaml
from rnnjax.store.atomic import no_link
from rnnjax.store.identity import digest
from rnnjax.store.manifest import Damaged, Manifest
from rnnjax.store.netcdf import dataset_of


CONFIG = "config.yaml"
MANIFEST = "manifest.json"
METRICS = "metrics.parquet"
PROBES = "probes.nc"
PARAMS = "params.msgpack"
PARAMS_AT = "params_at.msgpack"
BEST = "best.msgpack"
STATE = "state.msgpack"
RESULTS = (METRICS, PROBES, PARAMS, PARAMS_AT, BEST, STATE)
"""What a run may leave beside its configuration and its manifest."""
SOURCES = "source"
"""Folder of the user's files that a run was made with, ``cell.py`` and ``task.py``."""
NEXT = "next"
"""Folder in which a sealed run is computed once more (`rnnjax.store.writing`)."""

HYDRA = ".hydra"
"""Folder of what Hydra keeps of a job, for its tools."""
HYDRA_FILES = (CONFIG, "overrides.yaml", "hydra.yaml")
FILES = (
    CONFIG,
    *RESULTS,
    *(f"{SOURCES}/{kind}.py" for kind in ("cell", "task")),
    *(f"{HYDRA}/{name}" for name in HYDRA_FILES),
)
"""All files of a run but its manifest."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunDir:
    """Readers of a run directory; nothing is read before it is asked for.

    What the manifest knows by its digest is compared with it on every read.

    Attributes:
        path: the directory, ``<pool>/<name>-<identity>``.
    """

    path: Path

    @property
    def home(self) -> Path:
        """The directory of the run, for an attempt in `NEXT` that of the sealed one."""
        inside = self.path.name == NEXT and (self.path.parent / MANIFEST).is_file()
        return self.path.parent if inside else self.path

    def config(self) -> dict[str, Any]:
        """The resolved configuration, nested mappings of scalars and lists.

        Raises:
            UserError: there is none.
            Damaged: it holds anything else.
        """
        return self._parsed(CONFIG, plain_yaml.load)

    def manifest(self) -> Manifest:
        """The manifest; its status says whether the other files are complete.

        Raises:
            UserError: there is none.
            Damaged: it cannot be read.
            OtherFormat: it is of another version.
        """
        return self.manifest_of(self.manifest_bytes())

    def manifest_bytes(self) -> bytes:
        """The text of the manifest.

        Raises:
            UserError: there is none.
        """
        return self.later_manifest() or _read(self.path / MANIFEST, self.path)

    def metrics(self) -> pl.DataFrame:
        """One row per recorded training step, column ``step`` among them."""
        # Not a path: polars has patterns.
        return self._parsed(METRICS, pl.read_parquet)

    def probes(self) -> xr.Dataset:
        """Quantities of gradient flow, with named dimensions."""
        return self._parsed(PROBES, dataset_of)

    def params_bytes(self) -> bytes:
        """Parameters as ``flax.serialization.to_bytes`` wrote them."""
        return self._bytes(PARAMS)

    def params_at_bytes(self) -> bytes:
        """Parameters by probed training step, as a mapping from its decimal text."""
        return self._bytes(PARAMS_AT)

    def best_params_bytes(self) -> bytes:
        """Parameters of the best validation metric, if they are not the final ones."""
        return self._bytes(BEST)

    def state_bytes(self) -> bytes:
        """What a longer run can go on from."""
        return self._bytes(STATE)

    def source(self, kind: str) -> Path:
        """The copy of the user's file that defines its ``cell`` or ``task``."""
        return self.path / SOURCES / f"{kind}.py"

    def has(self, file: str) -> bool:
        """Whether the run holds one of its files (`METRICS`, `PROBES`, …).

        Of a finished run its manifest says so: a file that was lost since then is no
        file that never was, and reading it is an error.

        Raises:
            UserError: the manifest cannot be read.
        """
        if self._exists(MANIFEST) and file != MANIFEST:
            manifest = self.manifest()
            if manifest.is_finished and manifest.files:
                return file in manifest.files
        return self._exists(file)

    def check(self) -> None:
        """Compare all files of a finished run with their digests.

        Raises:
            Damaged: one is missing or was changed.
        """
        manifest = self.manifest()
        for name, known in manifest.files.items():
            self._checked(name, known)
        for kind in ("cell", "task"):
            if manifest.is_finished and kind in manifest.digests:
                source = self.source(kind).relative_to(self.path).as_posix()
                self._checked(source, manifest.digests[kind])

    def _exists(self, name: str) -> bool:
        return (self.path / name).is_file()

    def _parsed(self, name: str, parse: Callable[[bytes], T]) -> T:
        content = self._bytes(name)
        try:
            return parse(content)
        except Exception as error:  # of a library; a sealed file's digest was right
            said = one_line(error)
            file = self.path / name
            raise Damaged(f"'{file}' cannot be read: {said}") from error

    def _bytes(self, name: str) -> bytes:
        try:
            return self._checked(name, self.manifest().files.get(name))
        except Damaged:
            # Once more: a later attempt may have taken its place between the two reads.
            return self._checked(name, self.manifest().files.get(name))

    def _checked(self, name: str, known: str | None) -> bytes:
        """The content of a file; a digest that is known must be its."""
        file = self.path / name
        moved = self.path / NEXT / name
        if self.later_manifest() and moved.is_file():
            file = moved
        try:
            content = _read(file, self.path)
        except Damaged:
            raise
        except UserError:
            if known is None:
                raise
            raise Damaged(f"'{file}' is missing, and the run had left it") from None
        if known is not None and digest(content) != known:
            raise Damaged(
                f"'{file}' is not what the run left: the file was changed or damaged; "
                "put it back, or train again"
            )
        return content

    def manifest_of(self, content: bytes) -> Manifest:
        """The manifest in `manifest_bytes`."""
        try:
            return Manifest.from_json(content)
        except UserError as error:
            raise type(error)(f"'{self.path / MANIFEST}': {error}") from None

    def later_manifest(self) -> bytes | None:
        """The manifest of a later attempt that is sealed and not yet in its place."""
        try:
            content = read_file(no_link(self.path / NEXT, self.path) / MANIFEST)
            later = Manifest.from_json(content)
            own = Manifest.from_json(read_file(self.path / MANIFEST))
        except (OSError, UserError):
            return None
        fits = later.is_finished and later.identity == own.identity
        return content if fits else None


def _read(file: Path, run: Path) -> bytes:
    try:
        return read_file(file)
    except FileNotFoundError:
        raise UserError(f"the run '{run}' holds no {file.name}") from None
    except OSError as error:
        raise Damaged(f"cannot read '{file}': {error.strerror}") from None
    except ValueError as error:  # no file can have that name
        raise Damaged(f"cannot read {str(file)!r}: {error}") from None


def identity_in(folder: str) -> str:
    """The identity that ends the name of a run directory, see `run_path`.

    >>> identity_in("lstm-seed=0-3fa9c2d41e07")
    '3fa9c2d41e07'
    """
    return folder.rpartition("-")[2]


def run_path(pool: str | Path, name: str, identity: str) -> Path:
    """The directory of a run in a pool.

    Raises:
        UserError: the name cannot be part of the name of a folder.
    """
    if not re.fullmatch(r"[\w=,+@][\w.=,+@ -]*", name):
        raise UserError(
            f"name: '{name}' cannot name a folder; use letters, digits and -_.=,+@"
        )
    return Path(pool) / f"{name}-{identity}"
