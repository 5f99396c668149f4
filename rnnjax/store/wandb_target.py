"""Where a W&B copy goes: our own keys, then W&B's environment variables, then defaults.

The variables are interpreted as in W&B (`wandb.sdk.wandb_settings`, version 0.31), but
are read again for each copy; W&B itself reads them once per process.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from rnnjax.errors import UserError
from rnnjax.paths import user_path


Mode = Literal["offline", "online", "disabled"]

_ALIASES = {"dryrun": "offline", "run": "online", "shared": "online"}
"""Further values of ``WANDB_MODE``. ``shared`` can be treated as ``online``, because no
other process writes to a finished run."""

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


@dataclass(frozen=True)
class Place:
    """What W&B is told about a copy, in addition to the run itself.

    Attributes:
        mode: ``offline`` writes a folder, ``online`` also uploads it.
        project: the W&B project.
        entity: user or team; None: W&B's default.
        group: name of a group of runs that belong together.
        root: W&B creates its folder ``wandb`` in this one.
        name: name of the W&B run; None: the name of the rnnjax run.
        notes: notes on the run, or None.
        tags: tags of the run, or None.
        silent: whether W&B prints nothing.
        disabled_by: the variable that disables W&B, as ``NAME=value``.
    """

    mode: Mode
    project: str
    entity: str | None
    group: str | None
    root: Path
    name: str | None
    notes: str | None
    tags: tuple[str, ...] | None
    silent: bool
    disabled_by: str | None = None

    @property
    def address(self) -> dict[str, str | None]:
        """The part that distinguishes copies of one run on W&B's server."""
        return {"entity": self.entity, "project": self.project}


def place(
    pool: str | Path,
    mode: Mode | None = None,
    project: str | None = None,
    group: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Place:
    """Where the copies of a pool go.

    An empty variable counts as not set. ``WANDB_RUN_ID`` and ``WANDB_RESUME`` are not
    read: the W&B id of a copy is the id of its run.

    Args:
        pool: parent of W&B's folder, unless ``WANDB_DIR`` is set.
        mode: takes precedence over ``WANDB_MODE`` and ``WANDB_DISABLED`` if given.
        project: takes precedence over ``WANDB_PROJECT`` if given.
        group: used unless ``WANDB_RUN_GROUP`` is set.
        environ: the environment.

    Raises:
        UserError: ``WANDB_MODE`` has an unknown value, or ``WANDB_DIR`` is not a path.
    """
    given = {name: text for name, text in environ.items() if text}
    chosen, disabled_by = (mode, None) if mode else _mode(given)
    tags, root = given.get("WANDB_TAGS"), given.get("WANDB_DIR", pool)
    return Place(
        mode=chosen,
        project=project or given.get("WANDB_PROJECT", "rnnjax"),
        entity=given.get("WANDB_ENTITY"),
        group=given.get("WANDB_RUN_GROUP", group),
        root=user_path(root, f"WANDB_DIR={root}").absolute(),
        name=given.get("WANDB_NAME"),
        notes=given.get("WANDB_NOTES"),
        tags=tuple(tag for tag in tags.split(",") if tag) if tags else None,
        silent=given.get("WANDB_SILENT", "true").lower() not in _FALSE,
        disabled_by=disabled_by,
    )


def _mode(given: Mapping[str, str]) -> tuple[Mode, str | None]:
    """The mode from the environment, and the variable that disables W&B, if any."""
    disabled = given.get("WANDB_DISABLED", "")
    if disabled.lower() in _TRUE:
        return "disabled", f"WANDB_DISABLED={disabled}"
    text = given.get("WANDB_MODE", "offline")
    mode = _ALIASES.get(text, text)
    if mode not in get_args(Mode):
        known = ", ".join([*get_args(Mode), *_ALIASES])
        raise UserError(f"WANDB_MODE={text} must be one of {known}")
    disabled_by = f"WANDB_MODE={text}" if mode == "disabled" else None
    return cast(Mode, mode), disabled_by


_OWN_FOLDERS = {
    "WANDB_CACHE_DIR": ("XDG_CACHE_HOME", ".cache"),
    "WANDB_DATA_DIR": ("XDG_DATA_HOME", ".local/share"),
    "WANDB_CONFIG_DIR": ("", ".config"),
}
"""Variables for the folders of W&B's own files, each with the base folder that W&B uses
by default: an environment variable and a path below the home folder."""


def give_folders(root: Path) -> None:
    """Set W&B's variables for its own files where it could not write them otherwise.

    This is the case if there is no home directory, or a read-only one: W&B would then
    make no copy, or log to the terminal because it cannot create a log file.

    Args:
        root: folder of the copies; W&B's own folders go to ``wandb/.own`` in it.
    """
    for variable, (base, below) in _OWN_FOLDERS.items():
        folder = os.environ.get(variable)
        if not folder:
            home = os.environ.get("HOME")
            known = os.environ.get(base) or (home and os.path.join(home, below))
            folder = known and os.path.join(known, "wandb")
        is_read = variable == "WANDB_CONFIG_DIR"  # it may only hold account settings
        if not folder or not _is_usable(Path(folder), is_read):
            kind = variable.split("_")[1].lower()
            os.environ[variable] = str(root / "wandb" / ".own" / kind)


def _is_usable(folder: Path, is_read: bool) -> bool:
    """Whether a folder can be written or created; with `is_read`, reading suffices."""
    try:
        folder = folder.expanduser().absolute()
        if is_read and folder.is_dir():
            return os.access(folder, os.R_OK | os.X_OK)
        while not folder.exists():
            folder = folder.parent
    except (OSError, RuntimeError):
        return False
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
