"""Write a run directory: open it, fill it file by file, seal it with its manifest.

A sealed run stays as it is until a later attempt (with other probes, or with changed
code) is sealed too. That attempt is itself a run directory, in the subfolder `NEXT` of
the first one. Once its manifest is written it has replaced the run: readers look there
first, and its files are moved up, the manifest last. If the process is killed in
between, nothing is lost: the next `begin_run` or `settle` moves the remaining files.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import xarray as xr

from rnnjax.store import plain_yaml
from rnnjax.store.atomic import (
    TEMPORARY,
    make_folder,
    no_link,
    sync,
    writable,
    write_bytes,
    write_text,
)
from rnnjax.store.attempts import discard, is_attempt
from rnnjax.store.frames import parquet_bytes
from rnnjax.store.leases import Overtaken
from rnnjax.store.locks import locked
from rnnjax.store.manifest import Manifest
from rnnjax.store.netcdf import netcdf_bytes
from rnnjax.store.quarantine import set_aside
from rnnjax.store.run_id import digest
from rnnjax.store.rundir import (
    BEST,
    CONFIG,
    FILES,
    HYDRA,
    MANIFEST,
    METRICS,
    NEXT,
    PARAMS,
    PARAMS_AT,
    PROBES,
    RESULTS,
    SOURCES,
    STATE,
    RunDir,
)


def begin_run(path: Path, config: Mapping[str, Any], manifest: Manifest) -> RunDir:
    """Make the directory of a run, with its configuration and status ``running``.

    The directory of an unfinished run is reused. A sealed one is kept, and the new
    attempt gets a directory inside it.

    Args:
        path: see `rnnjax.store.rundir.run_path`.
        config: the resolved configuration.
        manifest: the run's manifest; its status is set to ``running``.

    Raises:
        UserError: the pool cannot be written, or the existing manifest cannot be read.
    """
    run = RunDir(path)
    _clear_place(path)
    make_folder(path, path.parent)
    with writable(path), locked(path):
        run = RunDir(path)
        _settle(run)
        if run.has(MANIFEST) and run.manifest().is_finished:
            run = RunDir(path / NEXT)
            if not is_attempt(run):
                why = f"'{run.path}' is not an attempt at this run"
                warnings.warn(set_aside(run.path, path.parent, why), stacklevel=4)
            make_folder(run.path, path)
        # Delete everything that an unfinished attempt left behind.
        for file in (MANIFEST, *RESULTS):
            (run.path / file).unlink(missing_ok=True)
        for leftover in run.path.glob(".*.tmp"):
            if TEMPORARY.fullmatch(leftover.name) and not leftover.is_dir():
                leftover.unlink(missing_ok=True)
        text = plain_yaml.dump(dict(config))
        # Losing these files does no harm: a run without a result is computed again.
        write_text(run.path / CONFIG, text, durable=False)
        digests = {CONFIG: digest(text.encode())}
        opened = manifest.replace(status="running", files=digests).to_json()
        write_text(run.path / MANIFEST, opened, durable=False)
    return run


def _clear_place(path: Path) -> None:
    """Move anything in the way that is not a run folder or a run file to quarantine."""
    pool, following = path.parent, path / NEXT
    _clear(path, pool, os.path.isdir, "a run folder")
    if path.is_symlink():
        return  # refused where the folder is made
    _clear(following, pool, os.path.isdir, "a folder")
    for home in (path,) if following.is_symlink() else (path, following):
        for name in (SOURCES, HYDRA):
            _clear(home / name, pool, _is_folder, "a folder")
        for name in (CONFIG, MANIFEST, *RESULTS):
            _clear(home / name, pool, os.path.isfile, "a regular file")


def _clear(path: Path, pool: Path, fits: Callable[[Path], bool], what: str) -> None:
    if os.path.lexists(path) and not fits(path):
        why = f"'{path}' is not {what}"
        warnings.warn(set_aside(path, pool, why), stacklevel=4)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


@contextmanager
def owned(run: RunDir, manifest: Manifest) -> Iterator[Manifest]:
    """Lock a run in order to change its files.

    This process may have been suspended for an arbitrarily long time since it began the
    run, and another one may have taken it over.

    Args:
        run: the value that `begin_run` returned.
        manifest: the one passed to `begin_run`, possibly with another status.

    Yields:
        The manifest that `begin_run` wrote.

    Raises:
        UserError: the run cannot be read or locked.
        Overtaken: another process has restarted or sealed the run.
    """
    with writable(run.home), locked(run.home):
        begun = run.manifest()
        if begun.created != manifest.created:
            raise Overtaken(f"'{run.path}' has been taken over by another process")
        yield begun


def write_source(run: RunDir, kind: str, content: bytes) -> None:
    """Store a copy of the user's file that defines the cell or task of a run.

    Raises:
        UserError: it cannot be written.
    """
    make_folder(run.path / SOURCES, run.path)
    write_bytes(run.source(kind), content, durable=False)


def finish_run(
    run: RunDir,
    manifest: Manifest,
    metrics: pl.DataFrame | None = None,
    probes: xr.Dataset | None = None,
    params: bytes | None = None,
    params_at: bytes | None = None,
    best: bytes | None = None,
    state: bytes | None = None,
) -> RunDir:
    """Write the results of a run, each file atomically, and seal them by the manifest.

    Args:
        run: the value that `begin_run` returned.
        manifest: the one passed to `begin_run`, with a status other than queued or
            running.
        metrics: one row per recorded step.
        probes: named dimensions; see `rnnjax.store.netcdf.netcdf_bytes`.
        params: serialized final parameters.
        params_at: serialized parameters at the probed training steps, by step.
        best: serialized parameters at the best validation metric, if they differ from
            the final ones.
        state: the state from which a longer run can resume.

    An argument that is None leaves no file in the finished directory.

    Returns:
        The run. If an attempt inside a sealed run ended without a result, the attempt
        is removed and the sealed run is returned.

    Raises:
        UserError: a file cannot be written.
        ValueError: the manifest's status says that the run is still queued or running,
            or the run is already sealed.
        Overtaken: another process has restarted or sealed the run in the meantime.
    """
    if manifest.status in ("queued", "running"):
        raise ValueError(f"a finished run cannot be {manifest.status}")
    given = {
        METRICS: None if metrics is None else parquet_bytes(metrics),
        PROBES: None if probes is None else netcdf_bytes(probes),
        PARAMS: params,
        PARAMS_AT: params_at,
        BEST: best,
        STATE: state,
    }
    contents = {name: content for name, content in given.items() if content is not None}
    with owned(run, manifest) as begun:
        if begun.is_finished:
            raise ValueError(f"'{run.path}' is sealed; begin_run reopens it")
        if run.path != run.home and not manifest.is_finished:
            discard(run)
            return RunDir(run.home)
        for name, content in contents.items():
            write_bytes(run.path / name, content, durable=False)
        for name in (CONFIG, *contents):
            sync(run.path / name)
        sync(run.path)
        digests = {name: digest(content) for name, content in contents.items()}
        seal = manifest.replace(files=begun.files | digests | manifest.files)
        write_text(run.path / MANIFEST, seal.to_json())
        home = RunDir(run.home)
        _settle(home)
    return home


def settle(run: RunDir) -> None:
    """Move the files of a sealed attempt, if there is one, up into the run directory.

    Files with unknown names do not belong to the attempt and are not moved.

    Raises:
        UserError: a file cannot be moved, or its place is taken by a link.
    """
    with writable(run.path), locked(run.path):
        _clear_place(run.path)
        _settle(run)


def _settle(run: RunDir) -> None:
    attempt = run.path / NEXT
    if run.later_manifest() is None:
        return
    sealed = run.manifest()
    for name in FILES:
        file, place = attempt / name, run.path / name
        if file.is_file():
            no_link(file, run.path)
            make_folder(place.parent, run.path)
            os.replace(file, place)
    for name in RESULTS:
        if name not in sealed.files:
            (run.path / name).unlink(missing_ok=True)
    sync(run.path)
    os.replace(attempt / MANIFEST, run.path / MANIFEST)
    discard(RunDir(attempt))
    sync(run.path)
