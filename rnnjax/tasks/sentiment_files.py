"""Where the sentences of `reviews` come from: the user, the data folder, a download."""

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pooch

from rnnjax.errors import UserError
from rnnjax.tasks.files import DATA_VARIABLE, data_folder, user_path


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
"""Checksums of the three files of Kotzias et al. 2015, checked after unpacking."""

CHOICES = ("all", "amazon", "imdb", "yelp")
SUFFIXES = (".txt", ".tsv", ".csv")


def sentence_files(path: str | None, files: str) -> list[Path]:
    """The files to read: `path`, else the data folder, else a checksummed download.

    In a folder these are all ``.txt``, ``.tsv`` and ``.csv`` files but a readme, of
    which `files` other than ``all`` keeps those whose name starts with it.

    Raises:
        UserError: nothing is there, or the download failed or has other content.
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
    """The three UCI files, from the cache of `pooch` or the archive, checked.

    Raises:
        UserError: no network, or content with another checksum.
    """
    advice = (
        f"put {', '.join(SHA256)} into the folder sentiment of ${DATA_VARIABLE}, "
        "or set task.path"
    )
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        unpacked = pooch.retrieve(
            URL,
            known_hash=None,
            fname="sentiment_labelled_sentences.zip",
            path=pooch.os_cache("rnnjax"),
            processor=pooch.Unzip(),
        )
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"cannot download {URL} ({reason}); {advice}") from None
    by_name = {Path(file).name: Path(file) for file in unpacked}
    for name, checksum in SHA256.items():
        if name not in by_name:
            raise UserError(f"the archive {URL} has no {name}; {advice}")
        if pooch.file_hash(str(by_name[name])) != checksum:
            raise UserError(f"{by_name[name]} has an unknown checksum; {advice}")
    return [by_name[name] for name in SHA256]
