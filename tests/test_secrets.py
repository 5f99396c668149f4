"""No file that a run, its W&B copy or a report leaves holds a secret of the user's."""

import base64
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import polars as pl
import pytest
import xarray as xr

import rnnjax
from tests.launch_samples import PROBE, SIZES
from tests.test_store_manifest import git
from tests.wandb_samples import VARIABLES, _records


SECRETS = {
    "WANDB_API_KEY": "0badc0ffee" * 4,
    "AWS_SECRET_ACCESS_KEY": "secret-of-aws",
    "GITHUB_TOKEN": "ghp_secretofgithub",
    "HF_TOKEN": "hf_secretofhuggingface",
    "MY_PASSWORD": "secret-of-mine",
    "HTTPS_PROXY": "http://me:secret-of-proxy@localhost:9",
}
"""Of the environment."""

OTHERS = ("secret-of-netrc", "secret-of-remote", "secret-of-header")
"""In ~/.netrc, in the URL of a git remote, in a header that git sends."""

FORMS = ("\x78\x01", "\x78\x5e", "\x78\x9c", "\x78\xda")
"""How data that zlib made smaller begin, in PDF, PNG, HDF5 and elsewhere."""


def contents(file: Path) -> Iterator[bytes]:
    """What a file holds: its bytes, and what is packed in them."""
    raw = file.read_bytes()
    yield raw
    if file.suffix == ".parquet":
        yield pl.read_parquet(raw).write_csv().encode()
        yield repr(pl.read_parquet_metadata(file)).encode()
    if file.suffix == ".nc":
        yield repr(xr.load_dataset(file, engine="h5netcdf").to_dict()).encode()
    if file.suffix == ".wandb":
        yield b"\n".join(_records(raw))
    for head in FORMS:
        for part in raw.split(head.encode("latin1"))[1:]:
            try:
                yield zlib.decompressobj().decompress(head.encode("latin1") + part)
            except zlib.error:
                continue


def leaks(folder: Path, secrets: list[str]) -> list[str]:
    """Files that hold a secret, as it is or in base 64."""
    words = [secret.encode() for secret in secrets]
    words += [base64.b64encode(word).rstrip(b"=") for word in words]
    return sorted(
        f"{file.relative_to(folder)}: {word.decode()}"
        for file in folder.rglob("*")
        if file.is_file()
        for word in words
        if any(word in content for content in contents(file))
    )


def checkout(folder: Path) -> Path:
    """This package in a checkout whose remote needs a token."""
    source = Path(rnnjax.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, folder / "rnnjax", ignore=ignored)
    shutil.copytree(source.parent / "conf", folder / "conf")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "start")
    url = f"https://me:{OTHERS[1]}@example.org/rnnjax.git"
    git(folder, "remote", "add", "origin", url)
    git(folder, "config", "http.extraHeader", f"Authorization: {OTHERS[2]}")
    (folder / "rnnjax" / "new.py").write_text(f"token = '{OTHERS[1]}'\n")
    return folder


def test_what_a_sweep_leaves_holds_no_secret(tmp_path: Path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    netrc = f"machine api.wandb.ai login user password {OTHERS[0]}\n"
    (home / ".netrc").write_text(netrc)
    own = {
        "HOME": str(home),
        "PYTHONPATH": str(checkout(tmp_path / "checkout")),
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),  # pyright: ignore
        "JAX_NUM_CPU_DEVICES": "2",
    }
    environ = {name: text for name, text in os.environ.items() if name not in VARIABLES}
    words = ["-m", *SIZES, *PROBE, "task.distance=5", "seed=0,1", "tracker=wandb"]
    command = [sys.executable, "-P", "-m", "rnnjax", "train", *words]
    done = subprocess.run(
        command, cwd=work, env=environ | SECRETS | own, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    files = {file.name for file in work.rglob("*") if file.is_file()}
    wanted = {"manifest.json", "metrics.parquet", "probes.nc", "sweep.json"}
    assert files >= wanted | {"report.html", "runs.csv", "hydra.yaml"}
    assert len([*work.rglob("run-*.wandb")]) == 2
    secrets = [text for name, text in SECRETS.items() if name != "HTTPS_PROXY"]
    assert leaks(work, [*secrets, *OTHERS, "secret-of-proxy"]) == []
    said = done.stdout + done.stderr
    assert not [text for text in [*secrets, *OTHERS] if text in said]


@pytest.mark.parametrize("name", ["plain.txt", "metrics.parquet", "probes.nc", "a.pdf"])
def test_a_secret_would_be_found(tmp_path: Path, name: str):
    """… in every kind of file."""
    secret, file = "secret-of-mine", tmp_path / name
    if name == "metrics.parquet":
        pl.DataFrame({"error": [secret] * 9}).write_parquet(file)
    elif name == "probes.nc":
        data = xr.Dataset({"word": ("step", [secret] * 9)})
        data.to_netcdf(file, engine="h5netcdf")
    elif name == "a.pdf":
        file.write_bytes(b"%PDF " + zlib.compress(secret.encode() * 9) + b" %%EOF")
    else:
        file.write_bytes(b"key: " + base64.b64encode(secret.encode()))
    assert [line.partition(":")[0] for line in leaks(tmp_path, [secret])] == [name]
