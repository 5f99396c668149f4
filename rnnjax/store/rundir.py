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
from rnnjax.store.manifest import Damaged, Manifest
from rnnjax.store.netcdf import dataset_of
from rnnjax.store.run_id import digest


CONFIG = "config.yaml"
MANIFEST = "manifest.json"
METRICS = "metrics.parquet"
PROBES = "probes.nc"
PARAMS = "params.msgpack"
PARAMS_AT = "params_at.msgpack"
BEST = "best.msgpack"
STATE = "state.msgpack"
RESULTS = (METRICS, PROBES, PARAMS, PARAMS_AT, BEST, STATE)
"""Files that a run may leave in addition to its configuration and manifest."""
SOURCES = "source"
"""Folder with copies of the user's files ``cell.py`` and ``task.py`` used by a run."""
NEXT = "next"
"""Folder in which a sealed run is computed again (`rnnjax.store.writing`)."""

HYDRA = ".hydra"
"""Folder in which Hydra records a job, for Hydra's own tools."""
HYDRA_FILES = (CONFIG, "overrides.yaml", "hydra.yaml")
FILES = (
    CONFIG,
    *RESULTS,
    *(f"{SOURCES}/{kind}.py" for kind in ("cell", "task")),
    *(f"{HYDRA}/{name}" for name in HYDRA_FILES),
)
"""All files of a run except its manifest."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunDir:
    """Readers of a run directory; every file is read only when it is asked for.

    On every read, a file that the manifest lists is compared with its digest.

    Attributes:
        path: the directory, ``<pool>/<name>-<run id>``.
    """

    path: Path

    @property
    def home(self) -> Path:
        """The run's directory; for an attempt in `NEXT`, that of the sealed run."""
        inside = self.path.name == NEXT and (self.path.parent / MANIFEST).is_file()
        return self.path.parent if inside else self.path

    def config(self) -> dict[str, Any]:
        """The resolved configuration: nested mappings of scalars and lists.

        Raises:
            UserError: there is none.
            Damaged: it contains anything else.
        """
        return self._parsed(CONFIG, plain_yaml.load)

    def manifest(self) -> Manifest:
        """The manifest; its status says whether the other files are complete.

        Raises:
            UserError: there is none.
            Damaged: it cannot be read.
            OtherFormat: it was written in another format version.
        """
        return self._manifest(self.later_manifest())

    def _manifest(self, later: bytes | None) -> Manifest:
        return self.manifest_of(later or _read(self.path / MANIFEST, self.path))

    def manifest_bytes(self) -> bytes:
        """The text of the manifest.

        Raises:
            UserError: there is none.
        """
        return self.later_manifest() or _read(self.path / MANIFEST, self.path)

    def metrics(self) -> pl.DataFrame:
        """One row per recorded training step, including a column ``step``."""
        # Pass the bytes: polars would interpret a path as a pattern.
        return self._parsed(METRICS, pl.read_parquet)

    def probes(self) -> xr.Dataset:
        """Gradient-flow quantities, with named dimensions."""
        return self._parsed(PROBES, dataset_of)

    def params_bytes(self) -> bytes:
        """Parameters as ``flax.serialization.to_bytes`` wrote them."""
        return self._bytes(PARAMS)

    def params_at_bytes(self) -> bytes:
        """Parameters by probed training step; the keys are decimal text."""
        return self._bytes(PARAMS_AT)

    def best_params_bytes(self) -> bytes:
        """Parameters at the best validation metric, if they are not the final ones."""
        return self._bytes(BEST)

    def state_bytes(self) -> bytes:
        """The state from which a longer run can resume."""
        return self._bytes(STATE)

    def source(self, kind: str) -> Path:
        """The copy of the user's file that defines its ``cell`` or ``task``."""
        return self.path / SOURCES / f"{kind}.py"

    def has(self, file: str) -> bool:
        """Whether the run has a file (`METRICS`, `PROBES`, …).

        For a finished run the manifest decides: a file that was lost after sealing
        still counts as one that the run has, so reading it is an error.

        Raises:
            UserError: the manifest cannot be read.
        """
        if self._exists(MANIFEST) and file != MANIFEST:
            manifest = self.manifest()
            if manifest.is_finished and manifest.files:
                return file in manifest.files
        return self._exists(file)

    def check(self) -> Manifest:
        """Compare all files of a finished run with their digests.

        Returns:
            The manifest.

        Raises:
            Damaged: a file is missing or was changed.
        """
        later = self.later_manifest()
        manifest = self._manifest(later)
        for name, known in manifest.files.items():
            self._checked(name, known, later)
        for kind in ("cell", "task"):
            if manifest.is_finished and kind in manifest.digests:
                source = self.source(kind).relative_to(self.path).as_posix()
                self._checked(source, manifest.digests[kind], later)
        return manifest

    def _exists(self, name: str) -> bool:
        return (self.path / name).is_file()

    def _parsed(self, name: str, parse: Callable[[bytes], T]) -> T:
        content = self._bytes(name)
        try:
            return parse(content)
        except Exception as error:  # a library's, although a sealed file was intact
            said = one_line(error)
            file = self.path / name
            raise Damaged(f"'{file}' cannot be read: {said}") from error

    def _bytes(self, name: str) -> bytes:
        def content() -> bytes:
            later = self.later_manifest()
            return self._checked(name, self._manifest(later).files.get(name), later)

        try:
            return content()
        except Damaged:
            # Try again: a later attempt may have replaced the run between the reads.
            return content()

    def _checked(self, name: str, known: str | None, later: bytes | None) -> bytes:
        """The content of a file, which must match the digest if one is given.

        It may still be that of a later attempt, if there is a manifest of one.
        """
        file = self.path / name
        moved = self.path / NEXT / name
        if later and moved.is_file():
            file = moved
        try:
            content = _read(file, self.path)
        except Damaged:
            raise
        except UserError:
            if known is None:
                raise
            raise Damaged(f"'{file}' is missing, but the manifest lists it") from None
        if known is not None and digest(content) != known:
            raise Damaged(
                f"'{file}' was changed or damaged after the run was written: its "
                "digest does not match; restore the file, or train again"
            )
        return content

    def manifest_of(self, content: bytes) -> Manifest:
        """Parse the text that `manifest_bytes` returns."""
        try:
            return Manifest.from_json(content)
        except UserError as error:
            raise type(error)(f"'{self.path / MANIFEST}': {error}") from None

    def later_manifest(self) -> bytes | None:
        """The manifest of a later attempt that is sealed but not yet moved up."""
        try:
            content = read_file(no_link(self.path / NEXT, self.path) / MANIFEST)
            later = Manifest.from_json(content)
            own = Manifest.from_json(read_file(self.path / MANIFEST))
        except (OSError, UserError):
            return None
        fits = later.is_finished and later.run_id == own.run_id
        return content if fits else None


def _read(file: Path, run: Path) -> bytes:
    try:
        return read_file(file)
    except FileNotFoundError:
        raise UserError(f"the run '{run}' has no {file.name}") from None
    except OSError as error:
        raise Damaged(f"cannot read '{file}': {error.strerror}") from None
    except ValueError as error:  # not a valid file name
        raise Damaged(f"cannot read {str(file)!r}: {error}") from None


def run_id_in(folder: str) -> str:
    """The run id at the end of the name of a run directory, see `run_path`.

    >>> run_id_in("lstm-seed=0-3fa9c2d41e07")
    '3fa9c2d41e07'
    """
    return folder.rpartition("-")[2]


def run_path(pool: str | Path, name: str, run_id: str) -> Path:
    """The directory of a run in a pool.

    Raises:
        UserError: the name cannot be part of a folder name.
    """
    if not re.fullmatch(r"[\w=,+@][\w.=,+@ -]*", name):
        raise UserError(
            f"name: '{name}' is not a valid folder name; use letters, digits and "
            "-_.=,+@"
        )
    return Path(pool) / f"{name}-{run_id}"
