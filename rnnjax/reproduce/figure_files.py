"""The files of a figure: results, a record of how they were obtained, pictures."""

import dataclasses
from pathlib import Path
from typing import Any

import xarray as xr

from rnnjax.errors import UserError
from rnnjax.paths import read_file
from rnnjax.reproduce.figure import Compared
from rnnjax.reproduce.verdict import Verdict
from rnnjax.store import sealed_json
from rnnjax.store.atomic import make_folder, write_bytes, write_text
from rnnjax.store.netcdf import dataset_of, netcdf_bytes
from rnnjax.store.run_id import digest


RESULTS, RECORD = ".nc", ".json"


@dataclasses.dataclass(frozen=True)
class Record:
    """How results were obtained, and their verdicts.

    Attributes:
        figure: name of the figure.
        preset: name of the preset.
        settings: settings of the preset.
        seconds: wall time of the run.
        cores: number of cores of the machine.
        device: kind of the first device, as named by JAX.
        versions: versions of Python and of the libraries.
        commit: commit of the checkout; None for an installed package.
        processor_seconds: processor time over all cores, which does not depend on the
            load of the machine.
        results_digest: SHA-256 of the results file.
        verdicts: one verdict for each claim.
        compared: the table "paper / here / same?".
        continued: whether runs of an earlier process were used, whose time is not in
            `seconds`.
    """

    figure: str
    preset: str
    settings: dict[str, Any]
    seconds: float
    cores: int
    device: str
    versions: dict[str, str]
    commit: str | None
    processor_seconds: float
    results_digest: str
    verdicts: tuple[Verdict, ...] = ()
    compared: tuple[Compared, ...] = ()
    continued: bool = False


@dataclasses.dataclass(frozen=True)
class FigureFiles:
    """The folder of one figure; files are named after the preset."""

    folder: Path

    def file(self, preset: str, suffix: str) -> Path:
        """One of the files of a preset."""
        return self.folder / f"{preset}{suffix}"

    def write(self, preset: str, results: xr.Dataset) -> str:
        """Store results, compressed; returns the digest of the file.

        Raises:
            UserError: they cannot be written.
        """
        make_folder(self.folder)
        packed = {
            name: {"zlib": True, "complevel": 9, "shuffle": True}
            for name, array in results.data_vars.items()
            if array.ndim and array.dtype.kind in "fiub"
        }
        content = netcdf_bytes(results, packed)
        write_bytes(self.file(preset, RESULTS), content)
        return digest(content)

    def results(self, preset: str) -> xr.Dataset:
        """The stored results.

        Raises:
            UserError: there are none, or they do not match the record.
        """
        file = self.file(preset, RESULTS)
        if not file.is_file():
            known = ", ".join(f.stem for f in sorted(self.folder.glob(f"*{RESULTS}")))
            there = f"; there are {known}" if known else ""
            raise UserError(
                f"'{self.folder}' holds no results of preset {preset}{there}"
            )
        recorded = self.file(preset, RECORD).exists()
        known = self.record(preset).results_digest if recorded else ""
        try:
            content = read_file(file)
            if known and digest(content) != known:
                raise ValueError("it is not what its record describes")
            return dataset_of(content)
        except Exception as error:  # HDF5 and its readers raise many kinds of errors
            raise UserError(f"'{file}' is no file of results, or damaged") from error

    def note(self, record: Record) -> None:
        """Store a record.

        Raises:
            UserError: it cannot be written.
        """
        text = sealed_json.sealed(dataclasses.asdict(record), indent=1)
        write_text(self.file(record.preset, RECORD), text + "\n")

    def record(self, preset: str) -> Record:
        """The record of a preset.

        Raises:
            UserError: there is none, or it is damaged.
        """
        file = self.file(preset, RECORD)
        try:
            tree = sealed_json.opened(read_file(file))
            verdicts = tuple(_verdict(entry) for entry in tree.pop("verdicts"))
            lines = tuple(Compared(**entry) for entry in tree.pop("compared", ()))
            record = Record(**tree, verdicts=verdicts, compared=lines)
            if not isinstance(record.settings, dict):
                raise TypeError("settings")
            return record
        except OSError as error:
            raise UserError(f"cannot read '{file}': {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            said = f"'{file}' is no record of a figure, or damaged"
            raise UserError(said) from error


def _verdict(entry: dict[str, Any]) -> Verdict:
    pairs = {
        key: tuple(value) for key, value in entry.items() if isinstance(value, list)
    }
    return Verdict(**{**entry, **pairs})
