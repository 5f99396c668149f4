"""Find the sentences of `reviews`: the user's file, the data folder, or a download."""

import hashlib
import logging
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pooch

from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.store.atomic import make_folder, writable, write_bytes
from rnnjax.tasks.readers.text_files import DATA_VARIABLE, data_folder


URL = "https://archive.ics.uci.edu/static/public/331/sentiment+labelled+sentences.zip"
SHA256: dict[str, str] = {
    "amazon_cells_labelled.txt": (
        "47003fc0a0d4840b00e96e715b6189bad09e7443a3da41c4cbe12ffc79f86ae3"
    ),
    "imdb_labelled.txt": (
        "c662b9360c1652babb990d164835af12aa105db7991f1fdb19038115f0e93de8"
    ),
    "yelp_labelled.txt": (
        "b565b1eeb864d76842588c3a256731b08bcdd9faf6de507bfe211a96f8b81912"
    ),
}
"""Checksums of the three files of Kotzias et al. 2015, verified before storing them."""

ARCHIVE = "sentiment_labelled_sentences.zip"
LARGEST = 2**20
"""Largest accepted size of an unpacked file, in bytes; the largest has 85 187."""

CHOICES = ("all", "amazon", "imdb", "yelp")
SUFFIXES = (".txt", ".tsv", ".csv")


def sentence_files(path: str | None, files: str) -> list[Path]:
    """The files to read: `path`, else the data folder, else a verified download.

    In a folder these are all ``.txt``, ``.tsv`` and ``.csv`` files except a readme. If
    `files` is not ``all``, only those whose name starts with `files` are read.

    Raises:
        UserError: there are no such files, or the download failed or has unexpected
            content.
    """
    if path is not None:
        place = user_path(path)
        if not place.is_dir():
            if files != "all":
                raise UserError(
                    f"task.files is '{files}' but task.path names a single file, "
                    f"{place}; use task.files=all"
                )
            return [place]
        return _in_folder(place, files)
    folder = data_folder("sentiment")
    if folder is not None:
        return _in_folder(folder, files)
    return _keep(download(), files)


def _in_folder(folder: Path, files: str) -> list[Path]:
    found = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES
        and not file.stem.lower().startswith("readme")
    ]
    chosen = _keep(found, files)
    if not chosen:
        wanted = "" if files == "all" else f" whose name starts with {files}"
        raise UserError(f"{folder} has no .txt, .tsv or .csv file{wanted}")
    return chosen


def _keep(found: Sequence[Path], files: str) -> list[Path]:
    return [file for file in found if files == "all" or file.name.startswith(files)]


def download() -> list[Path]:
    """The three UCI files from the user's cache, downloaded first if necessary.

    A download is verified before it is stored, so that for example the page of a
    captive portal is rejected. An archive in the cache that is not the right one is
    removed.

    Raises:
        UserError: no network, or a response that does not contain the three files.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        return _cached(Path(pooch.os_cache("rnnjax")))
    except (OSError, ValueError, RuntimeError) as error:  # the last for cyclic links
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"cannot download {URL} ({reason}); put {', '.join(SHA256)} into the "
            f"folder ${DATA_VARIABLE}/sentiment, or set task.path"
        ) from None


def _cached(cache: Path) -> list[Path]:
    files = [cache / "sentiment" / name for name in SHA256]
    if not all(map(_is_right, files)):
        contents = _kept(cache / ARCHIVE) or _downloaded(cache)
        make_folder(cache / "sentiment")
        for file in files:
            write_bytes(file, contents[file.name])
    return files


def _is_right(file: Path) -> bool:
    return file.is_file() and pooch.file_hash(str(file)) == SHA256[file.name]


def _kept(archive: Path) -> dict[str, bytes] | None:
    """The files in a cached archive; a wrong archive is removed with a warning."""
    if not archive.is_file():
        return None
    try:
        return unpacked(archive)
    except ValueError as error:
        with writable(archive):
            archive.unlink(missing_ok=True)
        warnings.warn(f"removed {archive}: {error}", stacklevel=2)
        return None


def _downloaded(cache: Path) -> dict[str, bytes]:
    fetch: Any = _Checked()  # its signature does not match pooch's downloader type
    archive = pooch.retrieve(URL, None, ARCHIVE, cache, downloader=fetch)
    return unpacked(Path(archive))


class _Checked(pooch.HTTPDownloader):
    """Verifies a download before pooch stores it under its name, or discards it."""

    def __call__(self, url: str, output_file: Any, *given: Any, **named: Any) -> Any:
        super().__call__(url, output_file, *given, **named)
        unpacked(Path(output_file))


def unpacked(archive: Path) -> dict[str, bytes]:
    """The content of the three files in an archive, by name.

    Raises:
        ValueError: it is not an archive, or does not contain these files.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            found = {
                Path(member.filename).name: members.read(member)
                for member in members.infolist()
                if Path(member.filename).name in SHA256 and member.file_size <= LARGEST
            }
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        with archive.open("rb") as file:
            begin = file.read(40).decode("utf-8", "replace")
        raise ValueError(f"not a zip archive, it begins with {begin!r}") from error
    except (NotImplementedError, RuntimeError) as error:  # other packing, or encrypted
        raise ValueError(f"not a readable archive: {error}") from error
    for name, checksum in SHA256.items():
        if name not in found:
            raise ValueError(f"the archive does not contain {name}")
        if hashlib.sha256(found[name]).hexdigest() != checksum:
            raise ValueError(f"its {name} has an unknown checksum")
    return found
