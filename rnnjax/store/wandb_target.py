"""Where a W&B copy goes: keys of ours, then W&B's environment variables, then defaults.

The variables are read as W&B reads them (`wandb.sdk.wandb_settings`, version 0.31), but
anew for each copy: W&B itself looks at them once a process.
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
"""Further values of ``WANDB_MODE``; shared: nobody else writes to a finished run."""

_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


@dataclass(frozen=True)
class Place:
    """What W&B is told about a copy beside the run itself.

    Attributes:
        mode: ``offline`` writes a folder, ``online`` uploads too.
        project: the W&B project.
        entity: user or team; None: W&B's default.
        group: runs that belong together.
        root: W&B makes its folder ``wandb`` in here.
        name: of the run; None: its own.
        notes: on the run, or None.
        tags: of the run, or None.
        silent: whether W&B prints nothing.
        disabled_by: the variable that says ``disabled``, as ``NAME=value``.
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
        """The part that tells two places of one run apart on W&B's server."""
        return {"entity": self.entity, "project": self.project}


def place(
    pool: str | Path,
    mode: Mode | None = None,
    project: str | None = None,
    group: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Place:
    """Where the copies of a pool go.

    A variable that is empty counts as not set. ``WANDB_RUN_ID`` and ``WANDB_RESUME``
    are not read: the id of a copy is the identity of its run.

    Args:
        pool: parent of W&B's folder, unless ``WANDB_DIR`` is set.
        mode: if given it wins over ``WANDB_MODE`` and ``WANDB_DISABLED``.
        project: if given it wins over ``WANDB_PROJECT``.
        group: used unless ``WANDB_RUN_GROUP`` is set.
        environ: the environment.

    Raises:
        UserError: ``WANDB_MODE`` is none of its values, or ``WANDB_DIR`` no path.
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
    """The mode that the environment says, and the variable if that is ``disabled``."""
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
"""Variables for W&B's own files: the base that W&B takes without them, in the home."""


def give_folders(root: Path) -> None:
    """Set W&B's variables for its own files where it could not write them otherwise.

    That is so without a home directory, or with one that is read-only: W&B would make
    no copy, or log to the terminal because it can make no log file.

    Args:
        root: of the copies; the folders go to ``wandb/.own`` in it.
    """
    for variable, (base, below) in _OWN_FOLDERS.items():
        folder = os.environ.get(variable)
        if not folder:
            home = os.environ.get("HOME")
            known = os.environ.get(base) or (home and os.path.join(home, below))
            folder = known and os.path.join(known, "wandb")
        is_read = variable == "WANDB_CONFIG_DIR"  # an account may be all it holds
        if not folder or not _is_usable(Path(folder), is_read):
            kind = variable.split("_")[1].lower()
            os.environ[variable] = str(root / "wandb" / ".own" / kind)


def _is_usable(folder: Path, is_read: bool) -> bool:
    """Whether a folder can be written, or made; or just be read if it is there."""
    try:
        folder = folder.expanduser().absolute()
        if is_read and folder.is_dir():
            return os.access(folder, os.R_OK | os.X_OK)
        while not folder.exists():
            folder = folder.parent
    except (OSError, RuntimeError):
        return False
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
