"""A run directory: a few files, sealed by the manifest, which is written last."""

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import xarray as xr
import yaml

from rnnjax.errors import UserError
from rnnjax.store.atomic import (
    make_folder,
    sync,
    writable,
    write_atomically,
    write_text,
)
from rnnjax.store.identity import file_digest
from rnnjax.store.manifest import Manifest


CONFIG = "config.yaml"
MANIFEST = "manifest.json"
METRICS = "metrics.parquet"
PROBES = "probes.nc"
PARAMS = "params.msgpack"
PARAMS_AT = "params_at.msgpack"
BEST = "best.msgpack"
STATE = "state.msgpack"
SOURCES = "source"
"""Folder of the user's files that a run was made with, ``cell.py`` and ``task.py``."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class RunDir:
    """Readers of a run directory; nothing is read before it is asked for.

    Attributes:
        path: the directory, ``<pool>/<name>-<identity>``.
    """

    path: Path

    def config(self) -> dict[str, Any]:
        """The resolved configuration, nested mappings of scalars and lists."""
        return yaml.load(self._bytes(CONFIG), Loader=_Loader)

    def manifest(self) -> Manifest:
        """The manifest; its status says whether the other files are complete."""
        content = self._bytes(MANIFEST)
        try:
            return Manifest.from_json(content)
        except UserError as error:
            raise type(error)(f"'{self.path / MANIFEST}': {error}") from None

    def metrics(self) -> pl.DataFrame:
        """One row per recorded training step, column ``step`` among them."""
        return pl.read_parquet(self._bytes(METRICS))  # not a path: polars has patterns

    def probes(self) -> xr.Dataset:
        """Quantities of gradient flow, with named dimensions."""
        return xr.load_dataset(io.BytesIO(self._bytes(PROBES)), engine="h5netcdf")

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
        """Whether the directory holds one of its files (`METRICS`, `PROBES`, …)."""
        return (self.path / file).is_file()

    def _file(self, name: str) -> Path:
        if not self.has(name):
            raise UserError(f"the run '{self.path}' holds no {name}")
        return self.path / name

    def _bytes(self, name: str) -> bytes:
        """The content of a file, which a sealed run's manifest knows by its digest."""
        content = self._file(name).read_bytes()
        if name != MANIFEST and self.has(MANIFEST):
            known = self.manifest().files.get(name)
            if known is not None and hashlib.sha256(content).hexdigest() != known:
                raise UserError(
                    f"'{self.path / name}' is not what the run left: the file was "
                    "changed or damaged; put it back, or remove the folder and train "
                    "again"
                )
        return content


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


def begin_run(
    pool: str | Path,
    name: str,
    identity: str,
    config: Mapping[str, Any],
    manifest: Manifest,
) -> RunDir:
    """Make the directory of a run, with its configuration and status ``running``.

    A directory that exists (the run was killed, or is computed again) becomes
    unfinished; its older results stay until `finish_run` replaces them.

    Raises:
        UserError: the pool cannot be written, or the name cannot name a folder.
    """
    path = run_path(pool, name, identity)
    make_folder(path)
    text = yaml.dump(dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    with writable(path):
        # Sealed results must not lie, even for a moment, beside a new configuration.
        (path / MANIFEST).unlink(missing_ok=True)
        for leftover in path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
    # Nothing is lost if these are: a run without a result is computed again.
    write_text(path / CONFIG, text, durable=False)
    opened = manifest.replace(status="running").to_json()
    write_text(path / MANIFEST, opened, durable=False)
    return RunDir(path)


def write_source(run: RunDir, kind: str, content: bytes) -> None:
    """Keep the user's file that defines the cell or task of a run.

    Raises:
        UserError: it cannot be written.
    """
    make_folder(run.path / SOURCES)
    write_atomically(run.source(kind), partial(_write_bytes, content), durable=False)


def finish_run(
    run: RunDir | Path,
    manifest: Manifest,
    metrics: pl.DataFrame | None = None,
    probes: xr.Dataset | None = None,
    params: bytes | None = None,
    params_at: bytes | None = None,
    best: bytes | None = None,
    state: bytes | None = None,
) -> RunDir:
    """Write the results of a run, each file whole, and seal them by the manifest.

    Args:
        run: a directory made by `begin_run`.
        manifest: with a status that is neither queued nor running.
        metrics: one row per recorded step.
        probes: named dimensions; attributes None are left out, logical ones become
            0 or 1 and mappings JSON text, as netCDF has none of them.
        params: serialized parameters.
        params_at: those of the probed training steps, by step.
        best: those of the best validation metric, if they are others.
        state: what a longer run can go on from.

    What is None is absent from the finished directory.

    Raises:
        UserError: a file cannot be written.
        ValueError: the run goes on, by its manifest, or was sealed already.
    """
    run = run if isinstance(run, RunDir) else RunDir(Path(run))
    if manifest.status in ("queued", "running"):
        raise ValueError(f"a finished run cannot be {manifest.status}")
    if run.manifest().is_finished:
        raise ValueError(f"'{run.path}' is sealed; begin_run opens it again")
    contents = {PARAMS: params, PARAMS_AT: params_at, BEST: best, STATE: state}
    writers: dict[str, Callable[[Path], object] | None] = {
        METRICS: None if metrics is None else metrics.write_parquet,
        PROBES: None if probes is None else partial(_write_netcdf, probes),
    }
    for name, content in contents.items():
        writers[name] = None if content is None else partial(_write_bytes, content)
    for name, write in writers.items():
        if write is None:
            (run.path / name).unlink(missing_ok=True)
        else:
            write_atomically(run.path / name, write, durable=False)
    with writable(run.path):
        for name in (CONFIG, *(name for name, write in writers.items() if write)):
            sync(run.path / name)
        sync(run.path)
    digests = {
        name: file_digest(run.path / name)
        for name in (CONFIG, *(name for name, write in writers.items() if write))
    }
    sealed = manifest.replace(files=digests | manifest.files)
    write_text(run.path / MANIFEST, sealed.to_json())
    return run


def _write_bytes(content: bytes, file: Path) -> None:
    file.write_bytes(content)


def _write_netcdf(dataset: xr.Dataset, file: Path) -> None:
    clean = dataset.copy()
    clean.attrs = _attributes(dataset.attrs)
    for name, variable in dataset.variables.items():
        clean[name].attrs = _attributes(variable.attrs)
    clean.to_netcdf(file, engine="h5netcdf")


def _attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return json.dumps(value)
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        return int(value) if isinstance(value, bool) else value

    return {
        str(key): plain(value) for key, value in attributes.items() if value is not None
    }
