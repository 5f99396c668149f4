"""Checkpoints of a pack: one save for all its runs, sealed by one commit record."""

import io
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax.errors import UserError, one_line
from rnnjax.paths import read_file
from rnnjax.store import sealed_json
from rnnjax.store.atomic import (
    make_folder,
    no_link,
    writable,
    write_atomically,
    write_text,
)
from rnnjax.store.checkpoint_files import (
    keys_of,
    leaves_of,
    load_step,
    save_npz,
    save_step,
)
from rnnjax.store.leases import Overtaken
from rnnjax.store.manifest import Damaged
from rnnjax.store.run_id import file_digest
from rnnjax.store.typed import check_types


PACKS = "packs"
"""The folder in a pool that contains the checkpoints of its packs."""

OWN = ("step-[0-9]*", "part-[0-9]*", ".*.tmp")
"""Name patterns of everything a save writes except the commit record."""

COMMIT = "commit.json"

Parts = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Restored:
    """What a pack resumes from.

    Attributes:
        tag: tag of the save, usually the training step.
        state: the saved pytree with NumPy arrays as leaves, bitwise identical.
        parts: histories by name, all saves concatenated along axis 0.
        start: the training step at which the pack originally began.
    """

    tag: int
    state: Any
    parts: dict[str, dict[str, np.ndarray]]
    start: int = 0


@dataclass(frozen=True)
class _Commit:
    tag: int
    members: list[str]
    parts: list[tuple[int, str]]
    wall_time: float
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every file that the save consists of, by path."""
    start: int = 0


class PackCheckpoint:
    """The checkpoint of a pack, in a folder of its own.

    A save writes ``step-<tag>`` (Orbax, all runs stacked) and ``part-<tag>-<name>.npz``
    (the new entries of a history), then replaces ``commit.json``, which lists the valid
    files with their digests. If the process is killed in between, the previous save is
    still valid.

    Args:
        folder: created by the first save.
        members: ids of the runs, in the order of the pack.
    """

    def __init__(self, folder: str | Path, members: Sequence[str] = ()) -> None:
        self.folder = Path(folder).absolute()
        self._members = tuple(members)
        self._follows: set[int | None] = set()  # expected last tag; empty: any

    def members(self) -> tuple[str, ...]:
        """Ids of the runs in the last save; empty if there is no save."""
        commit = self._commit()
        return tuple(commit.members) if commit else ()

    def tag(self) -> int | None:
        """The tag of the last save; None if there is no save."""
        commit = self._commit()
        return commit.tag if commit else None

    def save(
        self,
        tag: int,
        state: Any,
        parts: Parts | None = None,
        start: int = 0,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """Save the state of the whole pack and the new entries of its histories.

        Args:
            tag: must be larger than the tag of the last save.
            state: pytree of arrays; random keys as raw ``uint32``.
            parts: arrays by variable, by name of the history; time on axis 0, only the
                entries since the last save.
            start: the training step at which the pack began.
            check: called before files are removed or replaced, as this process may have
                been suspended; raises `Overtaken` if the pack is no longer its own.

        Raises:
            UserError: the folder cannot be written.
            ValueError: the tag is not new, or a name cannot be part of a file name.
            Overtaken: the last save is not the one that this object last read or wrote,
                so the new entries of the histories would not be a continuation of it.
        """
        commit = self._commit()
        if self._follows and (commit.tag if commit else None) not in self._follows:
            raise Overtaken(f"another process also saves to '{self.folder}'")
        if commit and tag <= commit.tag:
            raise ValueError(f"cannot save {tag} after save {commit.tag}")
        parts = parts or {}
        for name in parts:
            if not re.fullmatch(r"[\w.=-]+", name):
                raise ValueError(f"'{name}' cannot be part of a file name")
        make_folder(self.folder, self._pool)
        check()
        self._prune(commit)
        leaves = {key: leaf for key, leaf in leaves_of(state).items() if leaf.size}
        with writable(self.folder):
            # Orbax cannot save an empty tree, so one extra leaf is always added.
            save_step(self._step(tag), {"tag": np.asarray(tag), **leaves})
        for name, arrays in parts.items():
            write_atomically(self._part(tag, name), partial(save_npz, arrays))
        written = [self._part(tag, name) for name in parts]
        written += [file for file in self._step(tag).rglob("*") if file.is_file()]
        old = commit.files if commit else {}
        kept = {name: sha for name, sha in old.items() if name.startswith("part-")}
        new = _Commit(
            tag,
            list(self._members or (commit.members if commit else ())),
            [*(commit.parts if commit else ()), *((tag, name) for name in parts)],
            time.time(),
            kept | {self._name(file): file_digest(file) for file in written},
            start,
        )
        check()
        record = sealed_json.sealed(asdict(new), indent=1)
        write_text(self.folder / COMMIT, f"{record}\n")
        self._follows = {tag}
        self._prune(new)

    def restore(self, template: Any) -> Restored | None:
        """The last committed save; None if there is none.

        Args:
            template: a pytree with the structure, shapes and dtypes of the state;
                ``jax.eval_shape`` gives one without computing it.

        Raises:
            UserError: the checkpoint belongs to other runs or to another program.
            Damaged: a file is missing, or differs from what was saved.
        """
        commit = self._commit()
        self._follows = {commit.tag if commit else None}
        if commit is None:
            return None
        if self._members and tuple(commit.members) != self._members:
            raise UserError(f"the checkpoint '{self.folder}' belongs to other runs")
        self._check(commit)
        try:
            saved = load_step(self._step(commit.tag))
            joined = self._histories(commit)
        except Exception as error:
            said = f"cannot read the checkpoint '{self.folder}': {one_line(error)}"
            raise Damaged(said) from error
        state = self._fill(template, saved)
        return Restored(commit.tag, state, joined, commit.start)

    def _histories(self, commit: _Commit) -> dict[str, dict[str, np.ndarray]]:
        parts: dict[str, dict[str, list[np.ndarray]]] = {}
        for tag, name in commit.parts:
            content = io.BytesIO(read_file(self._part(tag, name)))
            with np.load(content, allow_pickle=False) as arrays:
                for key in arrays.files:
                    parts.setdefault(name, {}).setdefault(key, []).append(arrays[key])
        return {
            name: {key: np.concatenate(pieces) for key, pieces in arrays.items()}
            for name, arrays in parts.items()
        }

    def check(self) -> None:
        """Compare all files of the last save with their digests.

        Raises:
            Damaged: a file is missing, or differs from what was saved.
        """
        if commit := self._commit():
            self._check(commit)

    def _check(self, commit: _Commit) -> None:
        for name, known in commit.files.items():
            file = self.folder / name
            if not file.is_file() or file_digest(file) != known:
                raise Damaged(f"'{file}' was changed after the checkpoint was saved")

    def clear(self) -> None:
        """Remove what saves wrote, when its runs are exported; never through a link."""
        with suppress(UserError, OSError):
            no_link(self.folder, self._pool)
            (self.folder / COMMIT).unlink(missing_ok=True)
            self._prune(None)
            self.folder.rmdir()

    def foreign(self) -> list[str]:
        """Names of entries in the folder that no save wrote."""
        own = {entry for name in OWN for entry in self.folder.glob(name)}
        own.add(self.folder / COMMIT)
        return sorted(entry.name for entry in {*self.folder.iterdir()} - own)

    @property
    def _pool(self) -> Path:
        return self.folder.parent.parent

    def _fill(self, template: Any, saved: dict[str, np.ndarray]) -> Any:
        wanted, structure = jax.tree.flatten(template)
        leaves = []
        for key, like in zip(keys_of(template), wanted, strict=True):
            empty = np.zeros(like.shape, like.dtype) if 0 in like.shape else None
            leaf = saved.pop(key, empty)
            if leaf is None or leaf.shape != like.shape or leaf.dtype != like.dtype:
                raise UserError(
                    f"the checkpoint '{self.folder}' was made by another program: "
                    f"{key} differs"
                )
            leaves.append(leaf)
        if saved.keys() - {"tag"}:
            raise UserError(
                f"the checkpoint '{self.folder}' was made by another program: it also "
                f"contains {', '.join(sorted(saved.keys() - {'tag'}))}"
            )
        return jax.tree.unflatten(structure, leaves)

    def _commit(self) -> _Commit | None:
        try:
            no_link(self.folder, self._pool)
        except UserError as error:
            raise Damaged(f"the checkpoint cannot be used: {error}") from None
        try:
            entries = sealed_json.opened(read_file(self.folder / COMMIT))
            check_types(_Commit, entries)
            parts = [(int(tag), str(name)) for tag, name in entries.pop("parts")]
            return _Commit(parts=parts, **entries)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            file = self.folder / COMMIT
            raise Damaged(f"cannot read the checkpoint '{file}': {error!r}") from None

    def _prune(self, commit: _Commit | None) -> None:
        """Remove what the commit does not list: older steps and incomplete saves.

        Files that were not written by a save are kept.
        """
        kept = {self.folder / COMMIT}
        if commit:
            kept.add(self._step(commit.tag))
            kept.update(self._part(tag, name) for tag, name in commit.parts)
        own = {entry for name in OWN for entry in self.folder.glob(name)}
        for entry in own - kept:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def _step(self, tag: int) -> Path:
        return self.folder / f"step-{tag}"

    def _part(self, tag: int, name: str) -> Path:
        return self.folder / f"part-{tag}-{name}.npz"
