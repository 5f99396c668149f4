"""Checkpoints of a pack: one save for all its runs, sealed by one commit record."""

import io
import re
import shutil
import time
from collections.abc import Mapping, Sequence
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
from rnnjax.store.identity import file_digest
from rnnjax.store.leases import Overtaken
from rnnjax.store.manifest import Damaged
from rnnjax.store.typed import check_types


PACKS = "packs"
"""Folder of a pool with the checkpoints of its packs."""

OWN = ("step-*", "part-*", ".*.tmp")
"""Names of what a save writes, beside the commit."""

COMMIT = "commit.json"

Parts = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Restored:
    """What a pack goes on from.

    Attributes:
        tag: of the save, usually the training step.
        state: the saved pytree, NumPy arrays as leaves, bit for bit.
        parts: histories by name, all saves joined along axis 0.
        start: the training step at which the pack had begun.
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
    """SHA-256 of all that the save consists of, by path."""
    start: int = 0


class PackCheckpoint:
    """The checkpoint of a pack, in a folder of its own.

    A save writes ``step-<tag>`` (Orbax, all runs stacked) and ``part-<tag>-<name>.npz``
    (what is new in a history), then replaces ``commit.json``, which names what counts,
    with its digest. Whoever is killed in between finds the save before.

    Args:
        folder: made by the first save.
        members: identities of the runs, in the order of the pack.
    """

    def __init__(self, folder: str | Path, members: Sequence[str] = ()) -> None:
        self.folder = Path(folder).absolute()
        self._members = tuple(members)
        self._follows: set[int | None] = set()  # tags; empty: whatever is there

    def members(self) -> tuple[str, ...]:
        """Identities of the runs of the last save; none without one."""
        commit = self._commit()
        return tuple(commit.members) if commit else ()

    def tag(self) -> int | None:
        """That of the last save."""
        commit = self._commit()
        return commit.tag if commit else None

    def save(
        self, tag: int, state: Any, parts: Parts | None = None, start: int = 0
    ) -> None:
        """Save the state of the whole pack and what is new in its histories.

        Args:
            tag: larger than that of the last save.
            state: pytree of arrays; random keys as raw ``uint32``.
            parts: history name to arrays by variable; time on axis 0, only the entries
                since the last save.
            start: the training step at which the pack began.

        Raises:
            UserError: the folder cannot be written.
            ValueError: the tag is not new, or a name cannot be part of a file name.
            Overtaken: there is another save than this object read or made last: what is
                new in a history would not follow on it.
        """
        commit = self._commit()
        if self._follows and (commit.tag if commit else None) not in self._follows:
            raise Overtaken(f"another process saves in '{self.folder}'")
        if commit and tag <= commit.tag:
            raise ValueError(f"save {tag} comes after save {commit.tag}")
        parts = parts or {}
        for name in parts:
            if not re.fullmatch(r"[\w.=-]+", name):
                raise ValueError(f"'{name}' cannot be part of a file name")
        make_folder(self.folder, self._pool)
        self._prune(commit)
        leaves = {key: leaf for key, leaf in leaves_of(state).items() if leaf.size}
        with writable(self.folder):
            # Orbax saves nothing where there is nothing, so a state has one leaf more.
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
        write_text(
            self.folder / COMMIT, sealed_json.sealed(asdict(new), indent=1) + "\n"
        )
        self._follows = {tag}
        self._prune(new)

    def restore(self, template: Any) -> Restored | None:
        """The last committed save; None if there is none.

        Args:
            template: a pytree with the structure, shapes and dtypes of the state;
                ``jax.eval_shape`` gives one without computing it.

        Raises:
            UserError: the checkpoint belongs to other runs or to another program.
            Damaged: a part of it is missing, or is not what was saved.
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
            Damaged: one is missing, or is not what was saved.
        """
        if commit := self._commit():
            self._check(commit)

    def _check(self, commit: _Commit) -> None:
        for name, known in commit.files.items():
            file = self.folder / name
            if not file.is_file() or file_digest(file) != known:
                raise Damaged(f"'{file}' is not what the checkpoint saved")

    def clear(self) -> None:
        """Remove the checkpoint, once its runs are exported; not one behind a link."""
        with suppress(UserError):
            shutil.rmtree(no_link(self.folder, self._pool), ignore_errors=True)

    def foreign(self) -> list[str]:
        """Names of what no save put into the folder."""
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
                    f"the checkpoint '{self.folder}' was made by another program, "
                    f"see {key}"
                )
            leaves.append(leaf)
        if saved.keys() - {"tag"}:
            raise UserError(
                f"the checkpoint '{self.folder}' was made by another program, it also "
                f"holds {', '.join(sorted(saved.keys() - {'tag'}))}"
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
        """Remove what the commit does not name: older steps, and torn saves.

        What others put there stays.
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
