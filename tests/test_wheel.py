"""The wheel, in an environment of its own and an empty folder, without the checkout.

The packages that the wheel depends on are those of the environment that runs the
tests. The new one finds them by a line in a ``.pth`` file, which leads Python to their
folder, but not to what that folder's own ``.pth`` files name, such as this checkout.
"""

import dataclasses
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import jax
import pytest

from rnnjax.reproduce.catalogue import names
from tests.launch_samples import SIZES


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

WHERE = """
import json, sys, hydra_plugins.rnnjax_launcher.packed, rnnjax
from importlib.metadata import distribution
from rnnjax.reproduce.catalogue import experiments_folder, figures
from rnnjax.paths import shipped_folder
print(json.dumps({
    "path": sys.path,
    "figures": [figure.name for figure in figures()],
    "places": [
        rnnjax.__file__,
        hydra_plugins.rnnjax_launcher.packed.__file__,
        str(experiments_folder()),
        str(shipped_folder("conf")),
        str(distribution("rnnjax").locate_file("rnnjax")),
    ],
}))
"""

CELL = """
from rnnjax.activations import tanh
from rnnjax.cells import Cell

class Plain(Cell):
    def setup(self):
        self.kernel("V", self.inputs, self.features, "glorot_uniform")
        self.kernel("U", self.features, self.features, "orthogonal")

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        return tanh(drive + self.recur("U", h))
"""

APP = f"""
import hydra, rnnjax

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    words = {[*SIZES, "task.distance=5", "probe=off"]}
    run = rnnjax.train(*words, f"lr={{config.lr}}")
    print("trained", run.manifest.pack)

if __name__ == "__main__":
    main()
"""


@dataclasses.dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder to work in.

    Attributes:
        wheel: the file that was installed.
        prefix: folder of the environment.
        folder: empty at the beginning of a test.
    """

    wheel: Path
    prefix: Path
    folder: Path

    def run(self, program: str, *words: str) -> str:
        """Run a program of the environment in the folder; what it printed.

        Raises:
            AssertionError: its exit status is not 0.
        """
        # A path of the tests' own would lead to the checkout.
        own = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
        cache: str | None = getattr(jax.config, "jax_compilation_cache_dir", None)
        if cache is not None:
            own["JAX_COMPILATION_CACHE_DIR"] = cache
            own["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        done = subprocess.run(
            [self.prefix / "bin" / program, *words],
            cwd=self.folder,
            env=own | {"JAX_NUM_CPU_DEVICES": "2", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def files(self) -> set[Path]:
        """All files of the environment but Python's own caches."""
        return {x for x in self.prefix.rglob("*") if "__pycache__" not in x.parts}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel that `make wheel` builds, installed into a new environment."""
    base = tmp_path_factory.mktemp("wheel")
    python = [sys.executable, "-m"]
    build = [*python, "build", "--no-isolation", "--outdir", str(base), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = base.glob("*.whl")
    prefix = base / "environment"
    subprocess.run([*python, "venv", "--without-pip", str(prefix)], check=True)
    # Before the others are seen: pip would find the checkout's entry among them and
    # take the wheel for installed.
    install = ["--python", str(prefix), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*python, "pip", *install, str(wheel)], check=True)
    (site,) = prefix.glob("lib/python*/site-packages")
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "packages.pth").write_text("\n".join(sorted(packages)))
    return Installed(wheel, prefix, base)


@pytest.fixture
def installed(environment: Installed, tmp_path: Path) -> Installed:
    """`environment` with an empty folder of the test's own."""
    return dataclasses.replace(environment, folder=tmp_path)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git lists the files")
def test_every_file_that_is_part_of_the_package_is_in_the_wheel(installed):
    folders = ["rnnjax", "hydra_plugins", "conf", "experiments"]
    listed = subprocess.run(
        ["git", "ls-files", "-z", *folders],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    expected = {
        f"rnnjax/{file}" if file.startswith(("conf/", "experiments/")) else file
        for file in listed
        if file
    }
    assert expected and expected <= set(zipfile.ZipFile(installed.wheel).namelist())


def test_all_parts_are_found_and_the_checkout_is_not(installed):
    found = json.loads(installed.run("python", "-c", WHERE))
    assert sorted(found["figures"]) == names()
    for place in found["places"]:
        assert Path(place).exists() and Path(place).is_relative_to(installed.prefix)
    entries = [Path(installed.folder, x).resolve() for x in found["path"]]
    assert ROOT.resolve() not in entries and not any(installed.folder.iterdir())


def test_trains_sweeps_and_reports(installed):
    """A cell from a file, variants from `conf`, a report with its figures."""
    before = installed.files()
    (installed.folder / "plain.py").write_text(CELL)
    words = [*SIZES, "task.distance=5"]
    own = ["cell=plain.py:Plain", "probe=off", "out=one"]
    installed.run("rnnjax", "train", *words, *own)
    (manifest,) = installed.folder.glob("one/*/manifest.json")
    sealed = json.loads(manifest.read_text())
    assert sealed["status"] == "done" and sealed["environment"]["git"] is None

    sweep = ["variant=elman_tanh,gru", "seed=0,1", "probe=light", "out=pool"]
    printed = installed.run("rnnjax", "train", "-m", *words, *sweep)
    (page,) = installed.folder.glob("pool/**/report.html")
    assert "report.html" in printed
    page.unlink()
    installed.run("rnnjax", "report", str(page.parent))
    assert "gru" in page.read_text() and [*page.parent.glob("figures/*.svg")]
    table = installed.run("rnnjax", "runs", "pool", "--where", "status = 'done'")
    assert table.count("elman") >= 2
    assert installed.files() == before


def test_reproduces_a_figure_and_draws_it_again(installed):
    before = installed.files()
    installed.run("rnnjax", "reproduce", "cliff")
    shelf = installed.folder / "reproduced" / "gallery" / "cliff"
    picture = (shelf / "quick.png").read_bytes()
    (shelf / "quick.png").unlink()
    installed.run("rnnjax", "reproduce", "cliff", "--redraw", str(shelf))
    assert (shelf / "quick.png").read_bytes() == picture
    assert installed.files() == before


def test_an_application_of_hydra_finds_the_launcher(installed):
    (installed.folder / "app.py").write_text(APP)
    trained = installed.run(
        "python", "app.py", "-m", "hydra/launcher=packed", "+lr=.1,.2"
    )
    assert trained.count("size=2") == 2
