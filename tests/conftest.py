"""The ground that every test stands on: two CPU devices and no silent broadcasting."""

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from zlib import crc32


# As in the command: tracing makes many objects that stay.
gc.set_threshold(50_000, 20, 50)
# Before jax is imported, and inherited by the processes that tests start.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("MPLBACKEND", "agg")
# Compilation is most of the cost of these tests, so XLA optimises nothing and makes
# kernels in its older way, as long as there is one. The programs of updates, whose bits
# are tested, have options of their own.
FLAGS = [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
]
if version("jax") < "0.11":
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*os.environ.get("XLA_FLAGS", "").split(), *FLAGS])

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

from tests.checked import ROOMS  # noqa: E402


install_import_hook(
    [f"rnnjax.{room}" for room in ROOMS], "tests.checked.functions_only"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--all`` runs what is marked `slow`; ``--renew-golden WHY`` is `make golden`."""
    parser.addoption("--all", action="store_true", help="run slow tests, too")
    parser.addoption("--part", metavar="K/N", help="run part K, from 0, of N parts")
    parser.addoption("--renew-golden", metavar="WHY", help="record golden runs anew")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what is marked `slow`, unless asked for, and all parts but one."""
    part, parts = map(int, (config.getoption("--part") or "0/1").split("/"))

    def is_wanted(item: pytest.Item) -> bool:
        if item.get_closest_marker("slow") and not config.getoption("--all"):
            return False
        # By name, so that a test stays in its part when others are added.
        return crc32(item.nodeid.encode()) % parts == part % parts

    config.hook.pytest_deselected(items=[x for x in items if not is_wanted(x)])
    items[:] = [item for item in items if is_wanted(item)]


def pytest_configure(config: pytest.Config) -> None:
    """Set up JAX before any test module is imported."""
    if why := config.getoption("--renew-golden"):
        from tests.golden_runs import write_record

        write_record(why)
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    # `pytest --cache-clear` empties it. With a limit of its size JAX would list all
    # programs for each that it adds, and write none after a process was killed in it.
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("programs")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision for one test: arrays made inside are float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def rnnjax_data() -> Path:
    """Real data: ``RNNJAX_DATA``, or the folder ``shared/data`` beside the checkout."""
    named = os.environ.get("RNNJAX_DATA")
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(named) if named else beside
    if not folder.is_dir():
        pytest.skip(f"no data folder: set RNNJAX_DATA ({folder} is not there)")
    return folder


@contextmanager
def own_registries() -> Iterator[None]:
    """A user's cell or task that is registered inside is gone afterwards."""
    from rnnjax.cells import CELLS
    from rnnjax.tasks import TASKS

    before = [(registry, dict(registry._entries)) for registry in (CELLS, TASKS)]
    yield
    for registry, entries in before:
        vars(registry)["_entries"] = entries


@pytest.fixture(autouse=True)
def _own_registries() -> Iterator[None]:
    with own_registries():
        yield


@pytest.fixture(autouse=True)
def _few_programs() -> Iterator[None]:
    """Drop compiled programs while Linux still allows more mappings of memory.

    It allows 65 530 of them to a process. A program takes some 15, and XLA ends the
    process when it gets no more.
    """
    yield
    now = time.monotonic()
    if now - _LOOKED[0] > 20:
        _LOOKED[0] = now
        maps = Path("/proc/self/maps")
        if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
            from rnnjax.training import compiled
            from tests import training_samples

            training_samples.forget_programs()
            compiled.forget_programs()
            jax.clear_caches()


_LOOKED = [0.0]
"""When the mappings were counted last, which takes some milliseconds."""


@pytest.fixture(autouse=True, scope="module")
def _own_registries_of_a_module() -> Iterator[None]:
    """The same for what fixtures of a module register, which come before a test's."""
    with own_registries():
        yield
