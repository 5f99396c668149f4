"""The command `rnnjax probe`: measure a network, untrained or trained, in detail."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnjax.checks import check_choice
from rnnjax.errors import UserError
from rnnjax.paths import user_path


if TYPE_CHECKING:
    import xarray as xr

    from rnnjax.training.config import RunConfig


PROBES = "probes"
"""Folder in the pool for probes of untrained networks."""


@dataclasses.dataclass(frozen=True)
class Network:
    """The network to measure, the output folder, and measurements made in training."""

    config: "RunConfig"
    params: Any
    folder: Path
    title: str
    subtitle: str
    training: "xr.Dataset | None" = None


def probe(overrides: Sequence[str], config_dir: str | None) -> int:
    """Measure everything for one set of parameters; write a data set and a page.

    Args:
        overrides: for a network at initialisation, the overrides of one training run;
            for the parameters of a run, ``run=DIR``, optionally ``step=N``, and
            ``run_code=true`` if the cell or task comes from a file. Both also accept
            ``sections=adjoints,factors`` (``all``: also `signal` and `interventions`),
            and ``weight=V[0,0]`` for the chain rule of one weight. At initialisation,
            ``probe=light`` means ``sections=adjoints``. Or ``FILE.py:LOSS``, a function
            of the user's (`rnnjax.cli.probing_file`).
        config_dir: see `rnnjax.sweeps.compose.plan`, here and below.

    Raises:
        UserError: the input is invalid; nothing has been written.
    """
    from rnnjax.devices import check_settings
    from rnnjax.executables.folder import keep_programs
    from rnnjax.sweeps.user_files import reference

    check_settings()
    keep_programs()
    if overrides and (named := reference(overrides[0])) is not None:
        from rnnjax.cli.probing_file import probe_file

        return probe_file(*named, overrides[1:])
    own, sections, rest = _parse(overrides)
    if "run" not in own:
        network = _untrained(rest, config_dir)
    elif rest:
        raise UserError(f"'{rest[0]}' cannot be set: run=DIR has its own configuration")
    else:
        allowed = own.get("run_code", "").lower() == "true"
        network = _of_run(own["run"], own.get("step"), allowed)
    return _show(network, sections, own.get("weight"))


def probe_sweep(overrides: Sequence[str], config_dir: str | None) -> int:
    """Probe all untrained networks of a sweep; write one data set over its axes.

    Raises:
        UserError: a job is invalid; nothing has been written.
    """
    from rnnjax.devices import use_every_core
    from rnnjax.report.explosion import exploded_points
    from rnnjax.store.atomic import make_folder, write_bytes
    from rnnjax.store.netcdf import netcdf_bytes
    from rnnjax.store.run_id import digest
    from rnnjax.sweeps.compose import plan
    from rnnjax.sweeps.initialisation_grid import landscape
    from rnnjax.sweeps.job_data import with_data
    from rnnjax.sweeps.progress import LiveProgress
    from rnnjax.sweeps.resources import check_looking
    from rnnjax.terminal import console, error_screen

    use_every_core()
    made = plan(overrides, multirun=True, config_dir=config_dir)
    jobs = with_data(made.jobs)
    check_looking(jobs, made.settings, stored=True)
    runs = [job.run_id for job in jobs]
    name = made.settings.name or "sweep"
    name = f"{name}-{digest(' '.join(runs).encode())[:12]}"
    folder = figures_folder(Path(made.settings.out), PROBES, name)
    began = time.perf_counter()
    data = landscape(jobs, made.varied, LiveProgress(error_screen(), "points"))
    seconds = time.perf_counter() - began
    make_folder(folder)
    file = folder / "probes.nc"
    write_bytes(file, netcdf_bytes(data))
    sizes = " × ".join(f"{n} {key}" for key, n in data["loss"].sizes.items())
    pace = (
        f"{len(jobs)} points in {seconds:.1f} s, {len(jobs) / seconds:.3g} per second"
    )
    lines = [f"{pace}: {sizes}", *exploded_points(data), f"data: {file}"]
    console().print(*lines, sep="\n", soft_wrap=True, markup=False)
    return 0


def _parse(
    overrides: Sequence[str],
) -> tuple[dict[str, str], tuple[str, ...], list[str]]:
    """The command's own keys, the sections to compute, and the remaining overrides."""
    from rnnjax.analysis.configured_run import ALL_SECTIONS, RUN_SECTIONS, parse_weight

    own: dict[str, str] = {}
    rest = []
    for word in overrides:
        key, _, value = word.partition("=")
        if key in ("run", "run_code", "step", "sections", "weight"):
            own[key] = value
        else:
            rest.append(word)
    sections = RUN_SECTIONS
    if "sections" in own:
        asked = own["sections"].split(",")
        sections = ALL_SECTIONS if asked == ["all"] else tuple(asked)
    elif "probe=light" in rest:
        sections = ("adjoints",)
    for name in sections:
        check_choice("sections", name, (*ALL_SECTIONS, "all"))
    if own.get("run_code", "false").lower() not in ("true", "false"):
        raise UserError(f"run_code={own['run_code']} must be true or false")
    if "run_code" in own and "run" not in own:
        raise UserError(
            "run_code needs run=DIR, to name the run whose code may be executed"
        )
    if "step" in own and "run" not in own:
        raise UserError("step needs run=DIR: an untrained network has only step 0")
    if not own.get("step", "0").isdecimal():
        raise UserError(f"step={own['step']} is not a number of updates")
    if "weight" in own:
        parse_weight(own["weight"])
    return own, sections, rest


def _untrained(overrides: Sequence[str], config_dir: str | None) -> Network:
    from rnnjax.sweeps.compose import plan
    from rnnjax.sweeps.job_data import with_data
    from rnnjax.sweeps.resources import check_looking
    from rnnjax.training.build import initial_params

    made = plan(overrides, config_dir=config_dir)
    job = with_data(made.jobs)[0]
    if job.config.probe.preset == "off":
        raise UserError("probe=off measures nothing; use probe=full or probe=light")
    check_looking([job], made.settings, stored=False)
    name = f"{job.name}-{job.run_id}"
    return Network(
        config=job.config,
        params=initial_params(job.config),
        folder=figures_folder(Path(made.settings.out), PROBES, name),
        title=f"{job.label} on {job.config.task}, untrained",
        subtitle=" ".join(job.overrides) or "the default configuration",
    )


def _of_run(folder: str, step: str | None, run_code: bool) -> Network:
    from rnnjax.run import open_run

    if not user_path(folder, f"run={folder}").is_dir():
        raise UserError(f"run={folder}: no such folder")
    run = open_run(folder, run_code=run_code)
    if not run.manifest.is_finished:
        raise UserError(f"run={folder} is {run.manifest.status}, not finished")
    run.check_code()
    run.check_data()
    at = run.manifest.steps if step is None else int(step)
    return Network(
        config=run.config,
        params=run.params_at(at),
        folder=figures_folder(run.path, f"probe-{at}"),
        title=f"{run.path.name} after {at} updates",
        subtitle=f"run: {run.path.name}",
        training=run.probes if run.config.probe.preset == "full" else None,
    )


def figures_folder(home: Path, *names: str) -> Path:
    """The folder in a run or pool for a data set and its figures.

    Raises:
        UserError: the folder, or the subfolder for the figures, is a link.
    """
    from rnnjax.report.probe_page import FIGURES
    from rnnjax.store.atomic import no_link

    return no_link(home.joinpath(*names, FIGURES), home).parent


def _show(network: Network, sections: tuple[str, ...], weight: str | None) -> int:
    from rnnjax.analysis.configured_run import analyze_run, write_out
    from rnnjax.store.atomic import make_folder, write_bytes
    from rnnjax.store.frames import csv_bytes
    from rnnjax.terminal import console

    if weight is not None:
        rule = write_out(network.config, network.params, weight)
        make_folder(network.folder)
        file = network.folder / "chain_rule.csv"
        write_bytes(file, csv_bytes(rule.table()))
        lines = rule.text(), "", rule.legend(), "", f"table: {file}"
        console().print(*lines, sep="\n", soft_wrap=True, markup=False)
        return 0
    data = analyze_run(network.config, network.params, sections)
    data.attrs = {"title": network.title, "configuration": network.subtitle}
    about = network.title, network.subtitle
    return write(data, network.folder, *about, training=network.training)


def write(
    data: "xr.Dataset",
    folder: Path,
    title: str,
    subtitle: str,
    training: "xr.Dataset | None" = None,
) -> int:
    """Write a data set and its page, and print the table."""
    from rich.table import Table

    from rnnjax.report.probe_page import write_page
    from rnnjax.report.probe_summary import legend, summary
    from rnnjax.store.atomic import make_folder, write_bytes
    from rnnjax.store.netcdf import netcdf_bytes
    from rnnjax.terminal import console

    make_folder(folder)
    file = folder / "probe.nc"
    write_bytes(file, netcdf_bytes(data))
    table = Table("quantity", "value", title=title)
    for row in summary(data):
        table.add_row(*row)
    console().print(table)
    console().print(legend(data), style="dim")
    page = write_page(data, folder, title, subtitle, training)
    console().print(f"data: {file}", f"page: {page}", sep="\n", soft_wrap=True)
    return 0
