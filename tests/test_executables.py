"""Compiled programs that outlive a process: found, damaged, shared, limited."""

import functools
import json
import os
import py_compile
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from rnnjax import user_code
from rnnjax.analysis.configured_run import analyze_run
from rnnjax.cells import CELLS
from rnnjax.executables import folder, functions, lookup, pytrees, stored
from rnnjax.executables.description import Description, Undescribed
from rnnjax.executables.functions import kept_jit
from rnnjax.models.sequence import SequenceModel
from rnnjax.store.source_facts import remember_in
from rnnjax.sweeps.compose import compose_sweep
from rnnjax.sweeps.job_data import with_data
from rnnjax.sweeps.jobs import Job
from rnnjax.tasks import TASKS
from rnnjax.training.build import _drawn, initial_params, signature
from rnnjax.training.compiled import Compiled
from rnnjax.training.config import RunConfig
from rnnjax.training.optimizers import OPTIMIZERS
from rnnjax.training.pack import run_mesh
from rnnjax.training.rehearsal import prepare
from rnnjax.types import Batch


ROOT = Path(__file__).parents[1]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in which programs are kept, instead of JAX's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(folder, "_current", None)
    before: Any = getattr(jax.config, "jax_compilation_cache_dir", None)
    jax.config.update("jax_compilation_cache_dir", None)
    reset_cache()
    monkeypatch.setattr(user_code, "_ours", True)
    flags = os.environ.get("XLA_FLAGS", "")  # set before JAX started
    monkeypatch.setattr(lookup, "_first_flags", lambda: flags)
    folder.keep_programs()
    place = folder.current()
    assert place is not None
    yield place
    jax.config.update("jax_compilation_cache_dir", before)
    remember_in(None)


def command(cache: Path, code: str, *words: str, **environment: str) -> Any:
    """Start Python with its own cache of programs."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPIL")}
    own = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *words],
        env=plain | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: Any) -> str:
    """What a process printed; it must have ended well and without a warning."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "Warning" not in errors, errors
    return out


TRAIN = """
import sys
from jax import monitoring
compiled = []
def heard(name, seconds, **more):
    if name.endswith("backend_compile_duration"):
        compiled.append(more.get("fun_name"))
monitoring.register_event_duration_secs_listener(heard)
import numpy as np, jax, rnnjax
run = rnnjax.train(
    "cell=lstm", "task.distance=4", "model.hidden=4", "model.embedding=3", "batch=4",
    "steps=3", "eval.size=8", "probe.batch=4", "probe.steps=[0]", out=sys.argv[1],
)
names = [str(name) for name in compiled]
print(sum("on_device" in name or "_drawn" in name for name in names))
for leaf in jax.tree.leaves(run.params):
    print(np.asarray(leaf).tobytes().hex())
print(run.probes.to_dict() if hasattr(run.probes, "to_dict") else "")
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing_and_finds_the_same_bits(tmp_path):
    first = said(command(tmp_path / "cache", TRAIN, str(tmp_path / "a")))
    again = said(command(tmp_path / "cache", TRAIN, str(tmp_path / "b")))
    other = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")}
    plain = said(command(tmp_path / "none", TRAIN, str(tmp_path / "c"), **other))
    count, *bits = first.splitlines()
    assert int(count) >= 5
    assert again.splitlines() == ["0", *bits]
    assert plain.splitlines() == [count, *bits]


@pytest.mark.slow
def test_two_processes_at_once_and_one_that_is_killed(tmp_path):
    """They begin with an empty folder; the killed one dies in the middle of a write."""
    killing = TRAIN.replace(
        "import numpy",
        "import os, signal\n"
        "from rnnjax.store import atomic\n"
        "replace = os.replace\n"
        "def killed(old, new):\n"
        "    if 'executables-' in str(new):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(old, new)\n"
        "atomic.os.replace = killed\n"
        "import numpy",
    )
    killed = command(tmp_path / "cache", killing, str(tmp_path / "k"))
    killed.communicate(timeout=300)
    assert killed.returncode == -9
    (place,) = (tmp_path / "cache" / "rnnjax").glob("executables-*")
    assert list(place.glob(".*.tmp")), "it was to be killed while it writes"
    pair = [command(tmp_path / "cache", TRAIN, str(tmp_path / x)) for x in "ab"]
    one, two = (said(process).splitlines() for process in pair)
    assert one[1:] == two[1:]
    assert said(
        command(tmp_path / "cache", TRAIN, str(tmp_path / "c"))
    ).splitlines() == [
        "0",
        *one[1:],
    ]
    for leftover in place.glob(".*.tmp"):
        os.utime(leftover, (0, 0))
    folder.limit(place)
    assert not list(place.glob(".*.tmp"))


def doubled(x: Any, by: int = 2) -> dict[str, Any]:
    """Something to compile; its module is a test, so only its HLO is a name for it."""
    return {"value": x * by, "rest": (None, x.sum())}


def programs(place: Path) -> list[Path]:
    """Entries that hold a program."""
    files = [file for file in place.iterdir() if folder.NAME.fullmatch(file.name)]
    return [f for f in files if content(f).startswith(stored.MAGIC)]


def content(entry: Path) -> bytes:
    """What an entry holds, without its seal."""
    return entry.read_bytes().partition(b"\n")[2]


def test_code_without_a_lasting_name_is_found_by_its_hlo(kept):
    x = jnp.arange(3.0)
    for _ in range(2):
        function = kept_jit(doubled, static_argnames=("by",))
        found = function(x, by=3)
        assert found["value"].tolist() == [0, 3, 6] and found["rest"][0] is None
    (entry,) = programs(kept)
    assert [file for file in kept.iterdir() if file != entry] == []


def test_few_programs_of_a_function_stay_loaded(kept, monkeypatch):
    """A process that loads thousands would run out of mappings of memory."""
    monkeypatch.setattr(functions, "PROGRAMS", 3)
    function, x = kept_jit(doubled, static_argnames=("by",)), jnp.arange(3.0)
    for by in (0, 1, 2, 0, 3, 4):
        assert function(x, by=by)["value"].tolist() == [0, by, 2 * by]
        assert len(function._ready) <= 3 and len(function._locks) <= 3
    last = [dict(key[0])["by"] for key in function._ready]
    assert last == [0, 3, 4]  # the ones used last
    assert function(x, by=1)["value"].tolist() == [0, 1, 2]
    other = kept_jit(doubled)
    other(x)
    monkeypatch.setattr(functions, "COUNTED_EVERY", 1)
    monkeypatch.setattr(functions, "crowded", lambda: True)
    assert function(x, by=7)["value"].tolist() == [0, 7, 14]
    assert len(function._ready) == 1 and not other._ready
    assert other(x)["value"].tolist() == [0, 2, 4]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_programs_that_are_let_go_leave_no_mapping(kept):
    """Else letting them go would be of no use."""
    count = lambda: len(Path("/proc/self/maps").read_bytes().splitlines())
    function = kept_jit(doubled, static_argnames=("by",))
    x = jnp.arange(3.0)
    function(x, by=-1)
    function.unload(but=0)
    before = count()
    for by in range(6):
        function(x, by=by)
    loaded = count()
    function.unload(but=0)
    assert loaded > before
    assert count() - before < (loaded - before) / 2
    assert not functions.crowded()


def damaged(good: bytes, how: str) -> bytes:
    """An entry that is not what was written."""
    return {
        "cut": good[: len(good) // 2],
        "flip": good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
        "seal": bytes([good[0] ^ 1]) + good[1:],
        "empty": b"",
        "foreign": b"\x80\x04cos\nsystem\n",
        "version": good.replace(b"executable 1", b"executable 9"),
        "head": good.replace(b'"device"', b'"desert"', 1),
    }[how]


def test_equal_hlo_with_another_result_is_another_program(kept):
    def other(x: Any) -> Any:
        return {"other": x * 2, "rest": (None, x.sum())}

    x = jnp.arange(3.0)
    kept_jit(doubled)(x)
    other.__name__ = "doubled"
    assert sorted(kept_jit(other)(x)) == ["other", "rest"]


@pytest.mark.parametrize(
    "how", ["cut", "flip", "seal", "empty", "foreign", "version", "head"]
)
def test_a_damaged_entry_is_ignored_and_replaced(kept, how, recwarn):
    x = jnp.arange(3.0)
    kept_jit(doubled)(x)
    (entry,) = programs(kept)
    good = entry.read_bytes()
    bad = damaged(good, how)
    assert bad != good
    entry.write_bytes(bad)
    assert kept_jit(doubled)(x)["value"].tolist() == [0, 2, 4]
    assert stored.from_bytes(content(entry))(x) is not None
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "loop", "huge"])
def test_what_is_no_file_of_programs_is_no_entry(kept, kind, tmp_path, recwarn):
    x = jnp.arange(3.0)
    kept_jit(doubled)(x)
    (entry,) = programs(kept)
    entry.unlink()
    if kind == "fifo":
        os.mkfifo(entry)
    elif kind == "folder":
        entry.mkdir()
    elif kind == "huge":
        with open(entry, "wb") as file:
            file.truncate(10**11)
    else:
        entry.symlink_to(entry if kind == "loop" else tmp_path / "elsewhere")
    assert kept_jit(doubled)(x)["value"].tolist() == [0, 2, 4]
    assert not recwarn.list
    folder.limit(kept)
    folder.remove(kept.iterdir())
    assert list(kept.iterdir()) == []


def test_an_entry_belongs_to_its_name(kept):
    kept_jit(doubled)(jnp.arange(3.0))
    (first,) = programs(kept)
    kept_jit(doubled)(jnp.arange(4.0))
    (second,) = [entry for entry in programs(kept) if entry != first]
    first.write_bytes(second.read_bytes())
    assert folder.load(first.name) is None
    assert folder.load(second.name) == content(second)
    assert kept_jit(doubled)(jnp.arange(3.0))["value"].tolist() == [0, 2, 4]
    assert folder.load(first.name) is not None


@pytest.mark.parametrize("bad", [b"[]", b"null", b"[" * 10_000, b"5"])
def test_facts_that_were_damaged_are_found_again(kept, bad):
    model = signature_of()
    for _ in range(2):
        assert lookup.remembered(lambda: [3, 4], (model,)) == [3, 4]
    (entry,) = [file for file in kept.iterdir() if folder.NAME.fullmatch(file.name)]
    entry.write_bytes(bad)
    assert lookup.remembered(lambda: [5, 6], (model,)) == [5, 6]


def changed_head(program: bytes, **changes: Any) -> bytes:
    """A program with other entries in its head."""
    line, _, packed = program[len(stored.MAGIC) :].partition(b"\n")
    head = json.dumps(json.loads(line) | changes).encode()
    return stored.MAGIC + head + b"\n" + packed


def test_an_entry_names_no_code_outside_of_known_packages(kept, tmp_path, monkeypatch):
    x = jnp.arange(3.0)
    kept_jit(doubled)(x)
    (entry,) = programs(kept)
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evil:Tree", "os:system", "builtins:eval", "rnnjax.cells:gone"):
        tree = [name, None, ["leaf", "leaf"]]
        with pytest.raises(ValueError, match="node"):
            stored.from_bytes(changed_head(content(entry), tree=tree))
    assert "evil" not in sys.modules
    with pytest.raises(ValueError, match="no device 99"):
        places = [["device", "cpu", 99]]
        stored.from_bytes(changed_head(content(entry), inputs=places))


def test_what_only_this_process_has_is_not_kept(kept):
    def shown(x: Any) -> Any:
        jax.debug.print("{x}", x=x)
        return x + 1

    assert kept_jit(shown)(jnp.ones(2)).tolist() == [2, 2]
    jax.effects_barrier()
    assert programs(kept) == []
    key = jax.random.key(3)
    assert kept_jit(jax.random.normal)(key) == jax.random.normal(key)
    assert programs(kept) == []


def test_lapack_is_called_by_a_process_that_lowers_nothing(kept, tmp_path):
    code = """
    import sys, jax, numpy as np
    from rnnjax.executables import folder, stored
    entry = open(sys.argv[1], "rb").read()
    program = stored.from_bytes(entry.partition(bytes([10]))[2])
    print(program(dict(matrix=np.diag([3.0, 2.0]).astype("float32"))).tolist())
    """
    function = kept_jit(_values)
    assert sorted(function(jnp.diag(jnp.array([3.0, 2.0])))) == [2, 3]
    (entry,) = programs(kept)
    assert said(command(tmp_path, code, str(entry))) == "[3.0, 2.0]\n"


def _values(matrix: Any) -> Any:
    return jnp.linalg.svd(matrix, compute_uv=False)


def test_inside_of_another_program_it_is_a_plain_function(kept):
    function = kept_jit(doubled)
    assert jax.jit(lambda x: function(x)["value"])(jnp.ones(2)).tolist() == [2, 2]
    assert jax.grad(lambda x: function(x)["value"])(1.0) == 2
    assert programs(kept) == []


def signature_of(**changes: Any) -> Any:
    """A signature of a run."""
    return signature(RunConfig(cell="lstm", task="adding", **changes))


def key_for(*made_from: Any, arguments: Any = ()) -> str | None:
    return lookup.key_of(made_from, arguments)


def test_the_key_is_the_same_in_every_process(kept, tmp_path):
    code = """
    from rnnjax.executables import folder, lookup
    from rnnjax.training.build import signature
    from rnnjax.training.config import RunConfig
    import jax
    from rnnjax import user_code
    jax.config.update("jax_num_cpu_devices", 2)
    folder.keep_programs()
    user_code.begin_command()
    made = signature(RunConfig(cell="lstm", task="adding"))
    print(lookup.key_of((made,), (jax.ShapeDtypeStruct((3,), "float32"),)))
    """
    keys = {
        said(command(tmp_path, code, PYTHONHASHSEED=seed)).strip() for seed in "012"
    }
    assert len(keys) == 1 and keys != {"None"}


def test_everything_that_decides_a_program_decides_its_key(kept, monkeypatch):
    shape = jax.ShapeDtypeStruct((3,), "float32")
    base = functools.partial(key_for, signature_of(), arguments=(shape,))
    first = base()
    assert first == base() is not None
    assert key_for(signature_of(batch=7), arguments=(shape,)) != first
    for other in (
        (jax.ShapeDtypeStruct((4,), "float32"),),
        (jax.ShapeDtypeStruct((3,), "int32"),),
        {"x": shape},
    ):
        assert key_for(signature_of(), arguments=other) != first
    with jax.enable_x64(True):
        assert base() != first
    with jax.default_matmul_precision("float32"):
        assert base() != first
    for name in ("versions", "processor"):
        lookup._machine.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(lookup, name, lambda: "another")
            assert base() != first
    lookup._machine.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(lookup, "digest_of", lambda modules: "edited")
        assert base() != first
    with monkeypatch.context() as patch:
        patch.setenv("FLAX_FIX_RNG_SEPARATOR", "1")
        lookup._environment.cache_clear()
        assert base() != first
    lookup._environment.cache_clear()
    assert lookup.key_of((signature_of(),), (shape,), {"level": "0"}) != first
    assert base() == first


def test_code_of_the_user_makes_every_program_be_traced(kept, tmp_path, monkeypatch):
    """What it decides cannot be known: it may read files, or replace functions."""
    from rnnjax.sweeps.user_files import load

    base = functools.partial(key_for, signature_of())
    assert base() is not None
    (tmp_path / "mine.py").write_text(
        "from rnnjax.cells import Elman\n\n\nclass Mine(Elman):\n    pass\n"
    )
    load("cell", str(tmp_path / "mine.py"), "Mine")
    assert base() is None
    with monkeypatch.context() as patch:  # a process that no command began
        patch.setattr(user_code, "_ours", False)
        assert base() is None


SCRIPT = """
import sys, rnnjax, numpy as np
from rnnjax.training import program
if sys.argv[2] == "patched":
    program.clip = lambda kind, threshold, gradient: rnnjax_jax.tree.map(
        lambda g: 0 * g, gradient
    )
    import jax as rnnjax_jax
run = rnnjax.train(
    "cell=elman", "task.distance=4", "model.hidden=4", "model.embedding=3", "batch=4",
    "steps=3", "eval.size=8", "probe=off", out=f"{sys.argv[1]}/{sys.argv[2]}",
)
print(np.asarray(run.params["head"]["bias"]).tolist())
"""


@pytest.mark.slow
def test_a_function_that_a_script_replaced_is_used(tmp_path):
    """It would not be if a script took programs by the source of this package."""
    plain = said(command(tmp_path / "cache", SCRIPT, str(tmp_path), "plain"))
    patched = said(command(tmp_path / "cache", SCRIPT, str(tmp_path), "patched"))
    assert "0.0, 0.0" in patched and patched != plain


def test_a_source_that_is_newer_than_its_compiled_code_names_nothing(kept, monkeypatch):
    base = functools.partial(key_for, signature_of())
    assert base() is not None
    newer = {str(ROOT / "rnnjax" / "clipping.py")}
    monkeypatch.setattr(lookup, "_is_newer_than_its_code", lambda f: str(f) in newer)
    assert base() is None


def test_only_compiled_code_that_python_uses_can_be_older_than_its_source(tmp_path):
    source = tmp_path / "one.py"
    source.write_text("x = 1\n")
    assert not lookup._is_newer_than_its_code(source)  # nothing is compiled
    compiled = Path(py_compile.compile(str(source), doraise=True) or "")
    second = int(time.time()) * 10**9
    times = lambda file, ns: os.utime(file, ns=(ns, ns))
    times(source, second)
    py_compile.compile(str(source), doraise=True)
    times(compiled, second + 10**8)
    assert not lookup._is_newer_than_its_code(source)
    times(source, second + 2 * 10**8)  # another text of the same length and second
    assert lookup._is_newer_than_its_code(source)
    times(source, second + 2 * 10**9)  # Python compiles it again
    assert not lookup._is_newer_than_its_code(source)
    times(source, second + 2 * 10**8)
    source.write_text("x = 123\n")
    times(source, second + 2 * 10**8)
    assert not lookup._is_newer_than_its_code(source)
    compiled.write_bytes(b"short")
    assert not lookup._is_newer_than_its_code(source)


def test_flags_of_xla_that_cannot_be_told_keep_nothing(kept, monkeypatch):
    assert lookup._may_keep()
    for flags in ("--xla_late=1", "/file/of/flags"):
        with monkeypatch.context() as patch:
            patch.setenv("XLA_FLAGS", flags)
            assert not lookup._may_keep()
            patch.setattr(lookup, "_first_flags", lambda flags=flags: flags)
            assert lookup._may_keep() == flags.startswith("--")
    for name in ("jax_debug_nans", "jax_debug_infs"):
        jax.config.update(name, True)
        assert not lookup._may_keep()
        jax.config.update(name, False)


def test_a_weak_type_makes_another_program(kept):
    function = kept_jit(doubled)
    x, strong = jnp.ones(2, jnp.bfloat16), jnp.float32(2)
    for by, dtype in ((2.0, "bfloat16"), (strong, "float32"), (2.0, "bfloat16")):
        assert function(x, by)["value"].dtype == dtype


def test_values_without_a_lasting_description():
    class Local:
        pass

    own = Description()
    for value in (Local, Local(), lambda: 0, object(), [Local], {"a": Local()}):
        with pytest.raises(Undescribed):
            own.of(value)
    for same in (0.1, float("nan"), np.float32(3), np.arange(3), jnp.float32, Batch):
        assert json.dumps(own.of(same)) == json.dumps(own.of(same))
    for wrapped in (
        functools.wraps(doubled)(lambda: 0),
        CELLS["lstm"](inputs=1, features=2).step,
    ):
        with pytest.raises(Undescribed):
            own.of(wrapped)
    pairs = [(1, True), (1, 1.0), ("1", 1), ((1,), [1]), (0.0, -0.0), ({}, ())]
    pairs += [(np.float64(0.5), 0.5)]
    for one, other in pairs:
        assert json.dumps(own.of(one)) != json.dumps(own.of(other))


def test_the_oldest_entries_are_removed_above_the_limit(tmp_path):
    for age, name in enumerate("abcd"):
        file = tmp_path / (name * 32)
        file.write_bytes(bytes(100))
        os.utime(file, (1000 - age, 1000 - age))
    (tmp_path / "sources.json").write_bytes(bytes(1000))
    folder.limit(tmp_path, 250)
    left = {file.name[0] for file in tmp_path.iterdir()}
    assert left == {"a", "b", "s"}


def test_structures_are_read_as_they_were_written():
    config = RunConfig(cell="lstm", task="adding")
    state, hyper = jax.eval_shape(lambda: _state_of(config))
    for tree in ((state, hyper), {"a": None}, [], (), {}, None, 3, [{"b": (1, None)}]):
        structure = jax.tree.structure(tree)
        text = json.loads(json.dumps(pytrees.written(structure)))
        assert pytrees.read(text) == structure


def _state_of(config: RunConfig) -> Any:
    from rnnjax.training.rehearsal import shapes

    state, hyper = shapes(config, signature(config))
    zeros = lambda tree: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)
    return zeros(state), zeros(hyper)


@pytest.mark.filterwarnings("ignore:.optimistic_adam. is deprecated")
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_the_state_of_every_optimizer_has_a_structure_that_can_be_read(name):
    rule = OPTIMIZERS[name]().transformation(1e-3)
    params = {"U": jnp.zeros((2, 2)), "b": jnp.zeros(2)}
    structure = jax.tree.structure(jax.eval_shape(rule.init, params))
    assert pytrees.read(json.loads(json.dumps(pytrees.written(structure)))) == structure


TRACED = (
    ("cell=lstm", "probe=light", "clipping=norm"),
    ("cell=gru", "model.layers=2", "penalty=omega", "model.dropout=.1"),
    ("cell=mingru", "model.engine=associative", "optimizer=adam"),
    ("cell=elman", "model.engine=newton", "task=copy", "task.delay=3"),
    (
        "cell=lru",
        "model.bidirectional=true",
        "lr_schedule=cosine",
        "lr_schedule.decay_steps=3",
        "backprop=cut",
        "backprop.lag=2",
    ),
)


@pytest.fixture
def watched(kept: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Watch what is executed while programs are traced; filled with numbers of modules.

    A module without which the digest of a program is computed could be edited, and a
    program of older code be loaded.
    """
    from rnnjax.executables import functions
    from rnnjax.training import compiled

    package = str(ROOT / "rnnjax")
    programs: list[int] = []

    def lowered_by(lower: Any, made_from: Any, arguments: Any, *more: Any) -> Any:
        _, modules = lookup.describe(made_from, arguments)
        seen: set[str] = set()

        def look(frame: Any, event: str, argument: Any) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(package):
                seen.add(frame.f_globals["__name__"])

        sys.setprofile(look)
        try:
            lowered = lower()
        finally:
            sys.setprofile(None)
        # the lookup itself is no part of any program
        seen = {name for name in seen if not name.startswith("rnnjax.executables")}
        assert seen <= modules.keys(), (made_from[0], seen - modules.keys())
        programs.append(len(seen))
        return lowered.compile({"xla_backend_optimization_level": "0"})

    def of_pack(*given: Any) -> Any:
        with monkeypatch.context() as patch:  # nothing is compiled
            patch.setattr(jax.stages.Lowered, "compile", lambda *options: None)
            made = lowered_by(*given)
            return lambda: made

    monkeypatch.setattr(functions, "compiled", lowered_by)
    monkeypatch.setattr(compiled, "found_or_lowered", of_pack)
    return programs


def tiny(words: Sequence[str]) -> Job:
    sizes = ("model.hidden=4", "batch=4", "eval.size=8", "probe.batch=4", "steps=3")
    (job,) = with_data(compose_sweep([*sizes, *words]))
    return job


@pytest.mark.parametrize(
    "words",
    [TRACED[0], *(pytest.param(words, marks=pytest.mark.slow) for words in TRACED[1:])],
    ids=lambda words: words[0],
)
def test_a_program_of_training_is_made_of_the_modules_in_its_digest(words, watched):
    job = tiny(words)
    prepare(Compiled(job.signature, run_mesh(1), 2), job.config)
    assert len(watched) >= 2 and max(watched) > 10


@pytest.mark.slow
def test_a_program_of_the_analysis_is_made_of_the_modules_in_its_digest(watched):
    config = tiny(["cell=lstm"]).config
    analyze_run(config, initial_params(config))
    assert len(watched) >= 10


def test_the_command_shows_and_clears_what_is_kept(kept, capsys):
    from rnnjax.cli.main import main

    kept_jit(doubled)(jnp.ones(3))
    assert main(["cache"]) == 0
    assert "contains 1 entry" in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert "removed 1 entry" in capsys.readouterr().out
    assert main(["cache"]) == 0
    assert "contains 0 entries" in capsys.readouterr().out


def test_packed_programs_have_no_pickle_in_them(kept):
    _drawn(TASKS["adding"](), "test", 4, {})
    for entry in programs(kept):
        head, packed = content(entry).split(b"\n", 2)[1:]
        json.loads(head)
        assert not zlib.decompress(packed).startswith(b"\x80")


def test_a_model_is_described_with_its_cell():
    description = Description()
    cell = CELLS["lstm"](inputs=1, features=2)
    text = json.dumps(description.of(SequenceModel(cell=cell, output_size=2)))
    assert "rnnjax.cells.lstm:LSTM" in text
    assert "rnnjax.cells.lstm" in description.modules
