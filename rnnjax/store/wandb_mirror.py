"""A Weights & Biases copy of a finished run; our own store stays the truth."""

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
"""In W&B's folder of a run: project and entity, and once the copy is whole, of what."""

INIT_SECONDS = 30.0
"""How long W&B's server may take to answer, unless ``WANDB_INIT_TIMEOUT`` is set."""


class Unreachable(Exception):
    """W&B takes no copies at all: no account, no server, not installed."""


def mirror(run: RunDir, place: Place, older: Sequence[Path] = ()) -> Path | None:
    """Write one W&B run: id = identity, configuration, metrics by step, final numbers.

    Offline runs need no account; ``wandb sync`` uploads them later. Nothing is asked.

    A run has one copy for each project and entity, also if several pools that share
    ``WANDB_DIR`` hold it: there it is one run, by its id. When it was computed again,
    the new copy takes the place of the older folder. If that one was uploaded by
    ``wandb sync``, the new one has the same id and is not marked as uploaded: the next
    ``wandb sync`` puts it in the place of the older history. Online, a run that the
    server knows goes on behind its last step there. Folders that do not tell for which
    project they were made stay.

    Args:
        run: a finished run directory.
        place: where to; its mode is not ``disabled``.
        older: folders of copies of this run, of `copies_in`.

    Returns:
        W&B's folder of the new copy, which W&B's own process completes moments later;
        None if there is one already.

    Raises:
        Unreachable: no copy can be made of any run.
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
        session.summary.update(manifest.results)
        session.summary.update(
            {"status": manifest.status, "diverged_at": manifest.diverged_at}
        )
    write_text(copy / NOTE, json.dumps(wanted), durable=False)
    for folder in replaced:
        shutil.rmtree(folder, ignore_errors=True)
    return copy


def copies_in(root: Path) -> dict[str, list[Path]]:
    """W&B's folders of runs in `root`, by the id of the run."""
    found: dict[str, list[Path]] = {}
    for name in ("wandb", ".wandb"):  # W&B takes the latter where it is there
        for file in sorted((root / name).glob("*run-*/run-*.wandb")):
            found.setdefault(file.stem.removeprefix("run-"), []).append(file.parent)
    return found


def _holds(copy: Path, wanted: dict[str, Any], place: Place) -> bool:
    """Whether a copy is whole, of this run as it is now, and on the server if asked."""
    is_offline = copy.name.startswith("offline-")
    is_uploaded = not is_offline or any(copy.glob("*.wandb.synced"))
    return _note(copy) == wanted and (place.mode == "offline" or is_uploaded)


def _note(copy: Path) -> dict[str, Any]:
    """What `NOTE` says; nothing if there is none."""
    try:
        note = json.loads(read_file(copy / NOTE))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


@contextlib.contextmanager
def _session(manifest: Manifest, config: dict[str, Any], place: Place) -> Iterator[Any]:
    """A run of W&B, closed whatever happens."""
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
    """W&B's logs that do not fit on the disk are no tracebacks on the terminal."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


def _open(manifest: Manifest, config: dict[str, Any], place: Place) -> Any:
    make_folder(place.root)  # W&B would fall back to the folder for temporary files
    give_folders(place.root)
    import wandb  # Half a second that a run without a mirror does not pay.

    online = place.mode == "online"
    if online and not _has_account(wandb, place.silent):
        raise RuntimeError("no account is known, run `wandb login` once")
    return wandb.init(
        project=place.project,
        entity=place.entity,
        id=manifest.identity,
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
    """Whether W&B knows a key, without asking for one: on a terminal it would wait.

    W&B does not look if its variables say offline, even where `Place.mode` is online.
    """
    settings = wandb.setup().settings
    before = settings.mode, settings.silent
    settings.mode, settings.silent = "online", silent
    try:
        return wandb.login(prompt=False)
    finally:
        settings.mode, settings.silent = before


def _sentence(error: Exception) -> str:
    """The first line of an error; of several values that W&B rejects, the first one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].partition(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__


def _history(run: RunDir) -> list[tuple[int, dict[str, Any]]]:
    """Metrics by training step, ascending, without what a step did not record."""
    if not run.has(METRICS):
        return []
    rows = run.metrics().sort("step", maintain_order=True).to_dicts()
    return [
        (row.pop("step"), {name: v for name, v in row.items() if v is not None})
        for row in rows
    ]
