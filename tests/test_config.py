"""Overrides become jobs: products, variants, experiments, and files of the user."""

import contextlib
import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from rnnjax.cells import CELLS
from rnnjax.errors import UserError
from rnnjax.initializers import INITIALIZERS
from rnnjax.paths import shipped_folder
from rnnjax.store.run_id import run_id_of
from rnnjax.sweeps.compose import compose, compose_sweep, plan
from rnnjax.sweeps.groups import group_options, top_fields
from rnnjax.sweeps.hydra_session import session
from rnnjax.sweeps.job_data import with_data
from rnnjax.sweeps.schema import MISSING, Field, leaves
from rnnjax.sweeps.user_files import load
from rnnjax.tasks import TASKS, Copy
from rnnjax.training.config import RunConfig


VARIANTS = sorted(
    file.stem for file in (shipped_folder("conf") / "variant").glob("*.yaml")
)
EXPERIMENTS = sorted(
    f.stem for f in (shipped_folder("conf") / "experiment").glob("*.yaml")
)

CELL_FILE = """
from rnnjax.cells.base import Cell

class Leaky(Cell):
    "A leaky integrator."
    rate: float = 0.5
    recurrent_init: str = "orthogonal"

    def setup(self):
        self.kernel("U", self.features, self.features, self.recurrent_init)
        self.kernel("V", self.inputs, self.features, "glorot_uniform")

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        return (1 - self.rate) * h + self.rate * (drive + self.recur("U", h))

class Broken(Cell):
    def setup(self):
        raise RuntimeError("no such kernel\\nat all")

class NotACell:
    pass
"""

TASK_FILE = """
import dataclasses
from rnnjax.tasks import Adding

@dataclasses.dataclass(frozen=True)
class ShortAdding(Adding):
    length: int = 10
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's cell and task, as the present one."""
    (tmp_path / "cells.py").write_text(CELL_FILE)
    (tmp_path / "task.py").write_text(TASK_FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(job, kind: str = "cell") -> dict:
    return dict(getattr(job.config, f"{kind}_options"))


# -- the files of conf/ ------------------------------------------------------------


def test_defaults_are_those_of_the_dataclasses():
    job = compose()
    assert job.config == RunConfig(
        cell="elman",
        task="opinion",
        cell_options=job.config.cell_options,
        task_options=job.config.task_options,
        activation="tanh",
    )
    assert options(job, "task") == dataclasses.asdict(TASKS["opinion"]())
    written = leaves(
        yaml.safe_load((shipped_folder("conf") / "config.yaml").read_text())
    )
    stated = {
        key: float(v) if isinstance(v, str) and v[0].isdigit() else v
        for key, v in written.items()
        if key != "defaults"
    }
    assert stated == {key: field.default for key, field in top_fields().items()}


@pytest.mark.parametrize(
    ("variant", "cell", "expected", "lr"),
    [
        ("elman_sigmoid", "elman", {"activation": "sigmoid"}, 1e-2),
        (
            "elman_tanh",
            "elman",
            {"activation": "tanh", "recurrent_init": "orthogonal"},
            3e-3,
        ),
        (
            "elman_relu",
            "elman",
            {"activation": "relu", "recurrent_init": "identity"},
            1e-3,
        ),
        (
            "elman_leaky_relu",
            "elman",
            {"activation": "leaky_relu", "recurrent_init": "identity"},
            1e-3,
        ),
        ("lstm", "lstm", {"forget_bias": 1.0, "chrono": None}, 3e-3),
        ("lstm_chrono", "lstm", {"chrono": 30.0}, 3e-3),
        ("gru", "gru", {"update_bias": 0.0, "chrono": None}, 3e-3),
        ("gru_chrono", "gru", {"chrono": 30.0}, 3e-3),
    ],
)
def test_variants_of_the_main_sweep(variant, cell, expected, lr):
    job = compose(f"variant={variant}", "task.distance=30")
    assert job.config.cell == cell
    assert options(job) | expected == options(job)
    assert job.config.lr == lr
    assert job.label == variant and job.name == f"{variant}-opinion"


def test_every_variant_composes_and_says_how_to_use_it():
    jobs = compose_sweep([f"variant={','.join(VARIANTS)}"])
    assert len(jobs) == len(VARIANTS)
    for name in set(VARIANTS) - {"none"}:
        text = (shipped_folder("conf") / "variant" / f"{name}.yaml").read_text()
        assert f"rnnjax train variant={name}" in text
    own = {
        name for name, kind in CELLS.items() if kind.__module__.startswith("rnnjax.")
    }
    assert {job.config.cell for job in jobs} >= own - {"gru_before"}


@pytest.mark.parametrize("name", [e for e in EXPERIMENTS if e != "none"])
def test_every_experiment_composes(name, tmp_path):
    overrides = [f"experiment={name}"]
    if name == "reviews":  # Its length is that of the longest sentence in the file.
        file = tmp_path / "reviews.txt"
        file.write_text("".join(f"film {i} is fine\t{i % 2}\n" for i in range(50)))
        overrides.append(f"task.path={file}")
    jobs = compose_sweep([*overrides, "variant=elman_relu,gru_chrono"])
    stated = yaml.safe_load(
        (shipped_folder("conf") / "experiment" / f"{name}.yaml").read_text()
    )
    for key, values in leaves(stated["sweep"]).items() if "sweep" in stated else ():
        values = values if isinstance(values, list) else [values]
        if key == "variant":
            assert set(values) <= set(VARIANTS)
        elif isinstance(values[0], dict):  # whole combinations of fields
            assert len(jobs) % len(values) == 0
            for value in values:
                same = [j for j in jobs if value.items() <= options(j, key).items()]
                assert len(same) >= len(jobs) / len(values)
        else:
            group = isinstance(jobs[0].resolved.get(key), dict)
            key = f"{key}.name" if group else key
            found = [leaves(job.resolved)[key] for job in jobs]
            assert set(found) == set(values)
            assert all(found.count(v) == len(jobs) / len(values) for v in values)
    assert len({job.key for job in jobs}) == len(jobs)


def test_main_experiment_and_an_axis_from_the_command_line():
    jobs = compose_sweep(["experiment=main"])
    assert len(jobs) == 8 * (4 + 1) * 2
    config = jobs[0].config
    assert (config.steps, config.batch, config.model.hidden) == (2000, 32, 32)
    assert config.clipping.name == "norm" and config.clipping.threshold == 1.0
    assert config.probe.preset == "full" and config.eval.stop_when_solved
    overrides = ["experiment=main", "task.distance=200", "variant=gru"]
    overrides.append("task.form=sentiment")
    longer = compose_sweep(overrides)
    assert len(longer) == 2
    assert {options(job, "task")["distance"] for job in longer} == {200}
    axes = ["variant=gru", "task.distance=4", "task.form=sentiment", "seed=1"]
    one = compose("experiment=main", *axes)
    assert one.config in [job.config for job in jobs]


# -- products ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "keys", "expected"),
    [
        (
            ["cell=elman,gru", "seed=0,1"],
            ["cell.name", "seed"],
            [*itertools.product(["elman", "gru"], [0, 1])],
        ),
        (["seed=range(10)"], ["seed"], [(s,) for s in range(10)]),
        (["lr=choice(1e-3,1)"], ["lr"], [(1e-3,), (1.0,)]),
        (["seed=1,0,1"], ["seed"], [(1,), (0,)]),
        (["seed=5", "seed=0,1"], ["seed"], [(0,), (1,)]),
        (
            ["model={hidden:8,layers:1},{hidden:16,layers:2}"],
            ["model.hidden", "model.layers"],
            [(8, 1), (16, 2)],
        ),
        (
            ["activation=relu,tanh", "cell=elman,lstm"],
            ["cell.activation", "cell.name"],
            [*itertools.product(["relu", "tanh"], ["elman", "lstm"])],
        ),
        (
            ["variant=glob(gru*)"],
            ["cell.chrono"],
            [(None,), (4.0,)],
        ),
        (
            ["init=glob([lecun*,ide*])"],
            ["init.name"],
            [("identity",), ("lecun_normal",)],
        ),
        (["probe.steps=[0],[0,5]"], ["probe.steps"], [([0],), ([0, 5],)]),
        (["cell.bias=0,0.5"], ["cell.bias"], [(0.0,), (0.5,)]),
        (["+seed=1", "++steps=3"], ["seed", "steps"], [(1, 3)]),
        (["steps=1e3,2e3"], ["steps"], [(1000,), (2000,)]),
        (["model={hidden:8}", "model.hidden=16", "model={hidden:4}"],
         ["model.hidden"], [(4,)]),
    ],
)  # fmt: skip
def test_sweeps_are_products(overrides, keys, expected):
    jobs = compose_sweep(overrides)
    found = [tuple(leaves(job.resolved)[key] for key in keys) for job in jobs]
    assert found == expected


def test_names_show_what_varies():
    jobs = compose_sweep(["variant=lstm,gru", "task.distance=4", "seed=0,1"])
    assert [job.name for job in jobs] == [
        "lstm-opinion-seed=0",
        "lstm-opinion-seed=1",
        "gru-opinion-seed=0",
        "gru-opinion-seed=1",
    ]
    named = compose_sweep(["name=mine", "model={hidden:8},{hidden:9}"])
    assert [job.name for job in named] == ["mine-hidden=8", "mine-hidden=9"]


def test_the_overrides_of_a_job_give_the_job(files):
    sweep = [
        "experiment=four_words",
        "task.form=next_word",
        "cell.recurrent_init=[orthogonal,0.5],identity",
        "variant=elman_relu",
        "model={hidden:8,layers:2}",
        "seed=1",
    ]
    for job in compose_sweep(sweep) + compose_sweep(["cell=cells.py:Leaky,lstm"]):
        assert compose(*job.overrides).key == job.key


# -- meaning -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["activation=relu"], ["cell.activation=relu"]),
        (["activation=null"], ["activation=tanh"]),
        (["cell=gru", "cell.chrono=length"], ["cell=gru", "cell.chrono=4"]),
        (["lr=1"], ["lr=1.0"]),
        (["out=a", "pack.capacity=2", "checkpoint.every_seconds=1"], ["out=b"]),
        (["variant=none", "stale=accept"], ["experiment=none"]),
    ],
)
def test_the_same_run_said_in_two_ways(one, other):
    first, second = compose(*one), compose(*other)
    assert first.key == second.key
    assert run_id_of(first.resolved, {}) == run_id_of(second.resolved, {})


def test_options_of_rmsprop_that_came_later_leave_runs_their_names():
    later = {"eps_in_sqrt": True, "initial_scale": 0.0}
    tree = compose("optimizer=rmsprop").resolved
    assert later.items() <= tree["optimizer"].items()
    before = {k: v for k, v in tree["optimizer"].items() if k not in later}
    assert run_id_of(tree, {}) == run_id_of(tree | {"optimizer": before}, {})
    other = compose("optimizer=rmsprop", "optimizer.eps_in_sqrt=false").resolved
    assert run_id_of(other, {}) != run_id_of(tree, {})


def test_init_reaches_the_recurrent_kernels():
    job = compose("init=orthogonal", "init.gain=2")
    assert job.config.init.name == "orthogonal"
    assert dict(job.config.init.options) == {"gain": 2.0}
    assert job.resolved["init"] == {"name": "orthogonal", "gain": 2.0}
    assert options(job)["recurrent_init"] == "orthogonal"


def test_chrono_length_is_that_of_the_task():
    job = compose("cell=lstm", "cell.chrono=length", "task=copy", "task.delay=30")
    assert options(job)["chrono"] == Copy(delay=30).spec({}).length


def test_settings_are_no_part_of_a_run():
    made = plan(["out=there", "pack.devices=2", "stale=accept", "name=n"])
    assert made.settings.out == "there" and made.settings.pack.devices == 2
    assert made.settings.stale == "accept" and made.settings.name == "n"
    assert not {"out", "pack", "stale", "checkpoint"} & made.jobs[0].resolved.keys()


def test_generated_options_are_the_registries():
    groups = group_options()
    assert set(groups["cell"]) == set(CELLS)
    assert set(groups["task"]) == set(TASKS)
    assert set(groups["init"]) == {"none", *INITIALIZERS}


EXACT = st.integers(-(2**53), 2**53)
"""Integers that a float can hold."""


@given(EXACT | st.floats(allow_nan=False) | st.booleans() | st.text())
@example("INFINITY")
@example("-inf")
@example("1e400")
@example("9007199254740993")  # 2⁵³ + 1, which no float holds
def test_fields_keep_values_or_refuse_them(value):
    """Text that is a number counts as one, and 1e3 as a whole number."""
    number = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            number = float(value) if value.isascii() and "_" not in value else value
            if math.isinf(float(number)) and "inf" not in value.lower():
                number = value  # larger than any float
            if value.isascii() and "_" not in value:
                number = int(value)  # whole numbers keep all their digits
    exact = isinstance(number, int)
    if isinstance(number, float):
        exact = number.is_integer() and abs(number) <= 2**53
    fits = {
        int: type(number) in (int, float) and exact,
        float: type(number) in (int, float) and number == number,
        bool: isinstance(value, bool) or str(value).strip().lower() in TRUTHS,
        str: not isinstance(value, list),
    }
    for kind, fitting in fits.items():
        field = Field("key", kind, kind())
        if fitting:
            found = field.check(value)
            assert type(found) is kind
            assert kind in (str, bool) or found == kind(number)
        else:
            with pytest.raises(UserError, match="key="):
                field.check(value)


TRUTHS = ("true", "false")


def every_field() -> list[Field]:
    """All keys of the configuration."""
    options = [o for group in group_options().values() for o in group.values()]
    own = [field for option in options for field in option.fields.values()]
    return [*top_fields().values(), *own]


@pytest.mark.parametrize("value", [{}, {"a": 1}, [], [[]], [{}], "", "x,y"], ids=str)
def test_no_key_takes_the_shape_of_another(value):
    """Neither an empty mapping nor a list stands for a number, a name or a default."""
    for field in every_field():
        default = [] if field.default == MISSING else field.default
        text = "text" in field.description or default == value
        listed = value == [] and isinstance(default, tuple)
        if (text and isinstance(value, str)) or listed:
            continue
        with pytest.raises(UserError, match=f"{field.key}.* must be|needs a value"):
            field.check(value)


def test_every_number_may_be_text():
    """An environment gives nothing else."""
    checked = 0
    for field in every_field():
        default = field.default
        several = isinstance(default, tuple)
        if isinstance(default, int | float) or (several and default):
            text = [str(v) for v in default] if several else str(default)
            found = field.check(text)
            assert found == default and type(found) is type(default), field.key
            checked += 1
    assert checked > 50


# -- the user's own ----------------------------------------------------------------


def test_own_cell_and_task(files):
    jobs = compose_sweep(
        ["cell=cells.py:Leaky,lstm", "task=adding,task.py:ShortAdding", "seed=0"]
    )
    assert [(job.config.cell, job.config.task) for job in jobs] == [
        ("Leaky", "adding"),
        ("Leaky", "ShortAdding"),
        ("lstm", "adding"),
        ("lstm", "ShortAdding"),
    ]
    assert [set(job.digests) for job in jobs] == [
        {"cell"},
        {"cell", "task"},
        set(),
        {"task"},
    ]
    assert options(jobs[0]) == {"rate": 0.5, "recurrent_init": "orthogonal"}
    assert jobs[0].resolved["paths"] == {"cell": f"{files / 'cells.py'}:Leaky"}
    before = jobs[0].digests["cell"]
    (files / "cells.py").write_text(CELL_FILE + "\n# another day\n")
    job = compose("cell=cells.py:Leaky", "cell.rate=1", "init=identity")
    assert job.digests["cell"] != before and options(job)["rate"] == 1.0
    load("cell", *job.resolved["paths"]["cell"].rsplit(":", 1))
    assert CELLS["Leaky"].__doc__ == "A leaky integrator."


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("cell=missing.py:Leaky", ["missing.py", "no file"]),
        ("cell=cells.py:Leeky", ["Leeky", "did you mean Leaky"]),
        ("cell=cells.py:NotACell", ["NotACell", "not a subclass"]),
        ("task=cells.py:Leaky", ["Leaky", "not a subclass"]),
        ("cell=bad.py:Leaky", ["bad.py:2", "ZeroDivisionError"]),
        ("cell=syntax.py:Leaky", ["syntax.py:1", "SyntaxError"]),
        (
            "cell=cells.py:Broken",
            ["cells.py:21 in setup", "RuntimeError: no such kernel"],
        ),
        ("cell=taken.py:lstm", ["taken.py", "lstm already exists"]),
        ("cell=cells.py:Leaky,other.py:Leaky", ["both define cell Leaky", "other.py"]),
    ],
)
def test_errors_of_own_files(files, override, parts):
    (files / "bad.py").write_text("x = 1\nx / 0\n")
    (files / "syntax.py").write_text("def\n")
    (files / "taken.py").write_text("class lstm: pass\n")
    (files / "other.py").write_text(CELL_FILE)
    with pytest.raises(UserError) as caught:
        plan([override], multirun=True)
    message = str(caught.value)
    assert all(part in message for part in parts) and "\n" not in message


def test_own_variants_and_interpolation(tmp_path):
    folder = tmp_path / "variant"
    folder.mkdir()
    head = "# @package _global_\ndefaults:\n  - override /cell: gru\n"
    (folder / "mine.yaml").write_text(head + "cell:\n  chrono: ${task.distance}\n")
    (folder / "typo.yaml").write_text(head + "cell:\n  updat_bias: 1\n")
    (folder / "absent.yaml").write_text(head.replace("gru", "grv"))
    (folder / "damaged.yaml").write_text("a: [1\n")

    def jobs(*overrides):
        return plan(overrides, multirun=True, config_dir=tmp_path).jobs

    found = jobs("variant=glob(mi*,exclude=minimal*)", "task.distance=7,9")
    assert [(job.label, options(job).get("chrono")) for job in found] == [
        ("mine", 7.0),
        ("mine", 9.0),
        ("mingru", None),
        ("mingru", None),
        ("minlstm", None),
        ("minlstm", None),
    ][: len(found)]
    for overrides, part in [
        (["variant=mine", "task=adding"], "task.distance"),
        (["variant=typo"], "did you mean cell.update_bias"),
        (["variant=absent"], "cell/grv"),
        (["variant=damaged"], "damaged.yaml"),
    ]:
        with pytest.raises(UserError, match=part):
            jobs(*overrides)
    with pytest.raises(UserError, match="no folder"):
        plan([], config_dir=tmp_path / "nowhere")


def test_data_is_known_by_its_content(tmp_path):
    text = "to be or not to be, that is the question. " * 60
    for name, content in [("a.txt", text), ("b.txt", text), ("c.txt", text + "Ay.")]:
        (tmp_path / name).write_text(content)
    overrides = [f"task.path={tmp_path}/{name}.txt" for name in "abc"]
    jobs = [compose("task=text", "task.length=8", path) for path in overrides]
    a, b, c = [job.digests["data"] for job in with_data(jobs)]
    assert a == b != c
    assert with_data([compose()])[0].digests == {}
    absent = compose("task=text", f"task.path={tmp_path}/absent.txt")
    with pytest.raises(UserError, match="absent.txt"):
        with_data([absent])


def test_an_application_of_hydra_is_left_alone():
    from hydra.core.global_hydra import GlobalHydra

    with session():
        outer = GlobalHydra.instance().hydra
        assert compose("seed=3").config.seed == 3
        assert outer is not None and GlobalHydra.instance().hydra is outer
