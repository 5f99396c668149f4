"""Copy a finished run to Weights & Biases; our own store stays authoritative."""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnjax.paths import read_file
from rnnjax.store.atomic import make_folder, write_text
from rnnjax.store.manifest import Manifest
from rnnjax.store.rundir import METRICS, RunDir
from rnnjax.store.wandb_target import Place, give_folders


NOTE = "rnnjax.json"
"""File in W&B's folder of a run: project and entity and, once the copy is complete, the
steps and finishing time of the run that was copied."""

SUMMARY = ("status", "diverged_at", "metric")
"""Fields of the manifest beside the final numbers."""

INIT_SECONDS = 30.0
"""Timeout for W&B's server to answer, unless ``WANDB_INIT_TIMEOUT`` is set."""


class Unreachable(Exception):
    """W&B accepts no copies at all: no account, no server, or not installed."""


def mirror(run: RunDir, place: Place, older: Sequence[Path] = ()) -> Path | None:
    """Write one W&B run: the run id, configuration, metrics by step, final numbers.

    Offline runs need no account; ``wandb sync`` uploads them later. The user is never
    prompted.

    A run has one copy per project and entity, even if several pools that contain it
    share ``WANDB_DIR``: by its id, W&B sees it as one run. When a run was computed
    again, the new copy replaces the older folder. If that one had been uploaded by
    ``wandb sync``, the new copy has the same id but is not marked as uploaded, so the
    next ``wandb sync`` replaces the older history. Online, a run that the server
    already knows is resumed after its last step there. Folders that do not say for
    which project they were made are kept.

    Args:
        run: a finished run directory.
        place: destination; its mode must not be ``disabled``.
        older: folders of existing copies of this run, from `copies_in`.

    Returns:
        W&B's folder of the new copy, which W&B's own process completes moments later;
        None if an up-to-date copy already exists.

    Raises:
        Unreachable: no run can be copied at all.
        Exception: whatever W&B, or reading the run, raises.
    """
    manifest = run.manifest()
    wanted = {"steps": manifest.steps, "finished": manifest.finished} | place.address
    if any(_holds(folder, wanted, place) for folder in older):
        return None
    replaced = [one for one in older if place.address.items() <= _note(one).items()]
    rows, config = _history(run), run.config()
    with _session(manifest, config, place) as session:
        copy = Path(session.dir).parent
        write_text(copy / NOTE, json.dumps(place.address), durable=False)
        for step, row in rows:
            if step >= session.starting_step:
                session.log(row, step=step)
        facts = {key: getattr(manifest, key) for key in SUMMARY}
        session.summary.update(manifest.results | facts)
    write_text(copy / NOTE, json.dumps(wanted), durable=False)
    for folder in replaced:
        shutil.rmtree(folder, ignore_errors=True)
    return copy


def copies_in(root: Path) -> dict[str, list[Path]]:
    """W&B's run folders in `root`, by run id."""
    found: dict[str, list[Path]] = {}
    for name in ("wandb", ".wandb"):  # W&B uses the latter if it exists
        for file in sorted((root / name).glob("*run-*/run-*.wandb")):
            found.setdefault(file.stem.removeprefix("run-"), []).append(file.parent)
    return found


def _holds(copy: Path, wanted: dict[str, Any], place: Place) -> bool:
    """Whether a copy is complete, up to date, and uploaded if `place` is online."""
    is_offline = copy.name.startswith("offline-")
    is_uploaded = not is_offline or any(copy.glob("*.wandb.synced"))
    return _note(copy) == wanted and (place.mode == "offline" or is_uploaded)


def _note(copy: Path) -> dict[str, Any]:
    """The content of `NOTE`; empty if there is none."""
    try:
        note = json.loads(read_file(copy / NOTE))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


@contextlib.contextmanager
def _session(manifest: Manifest, config: dict[str, Any], place: Place) -> Iterator[Any]:
    """A W&B run, which is closed whatever happens."""
    with _unlogged():
        try:
            session = _open(manifest, config, place)
        except Exception as error:
            raise Unreachable(_sentence(error)) from error
        try:
            yield session
        except BaseException:
            session.finish(exit_code=1)
            raise
        session.finish(exit_code=0 if manifest.is_finished else 1)


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Print no traceback if W&B's log cannot be written because the disk is full."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


def _open(manifest: Manifest, config: dict[str, Any], place: Place) -> Any:
    make_folder(place.root)  # otherwise W&B uses the folder for temporary files
    give_folders(place.root)
    import wandb  # Takes half a second, so only import it if a copy is made.

    online = place.mode == "online"
    if online and not _has_account(wandb, place.silent):
        raise RuntimeError("no W&B account is configured; run `wandb login` once")
    return wandb.init(
        project=place.project,
        entity=place.entity,
        id=manifest.run_id,
        name=place.name or manifest.name,
        notes=place.notes,
        tags=place.tags,
        group=place.group,
        config=config,
        dir=str(place.root),
        mode=place.mode,
        # Offline there is nothing to resume; `allow` also overrides WANDB_RESUME.
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or INIT_SECONDS),
            silent=place.silent,
            console="off",
            save_code=False,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        ),
    )


def _has_account(wandb: Any, silent: bool) -> bool:
    """Whether W&B has an API key; never prompts for one, which would block a terminal.

    If W&B's variables say offline, it does not look for a key even though `Place.mode`
    is online, so its mode is set to online during the check.
    """
    settings = wandb.setup().settings
    before = settings.mode, settings.silent
    settings.mode, settings.silent = "online", silent
    try:
        return wandb.login(prompt=False)
    finally:
        settings.mode, settings.silent = before


def _sentence(error: Exception) -> str:
    """The first line of an error; for a validation error, the first rejected value."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].partition(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__


def _history(run: RunDir) -> list[tuple[int, dict[str, Any]]]:
    """Metrics by training step, ascending, without values that were not recorded."""
    if not run.has(METRICS):
        return []
    rows = run.metrics().sort("step", maintain_order=True).to_dicts()
    return [
        (row.pop("step"), {name: v for name, v in row.items() if v is not None})
        for row in rows
    ]
