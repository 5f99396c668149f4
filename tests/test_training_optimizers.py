"""Optimizers by name: ours and optax's, the same alone and in a pack."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.cli.listing import entries
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.sweeps import worker
from rnnjax.training.build import build_hyper, signature
from rnnjax.training.optimizers import OPTIMIZERS
from rnnjax.training.optimizers.of_optax import FORMULAS, OptaxOptimizer
from tests.launch_samples import jobs, params_of, start
from tests.recurrence_samples import rows
from tests.training_samples import compiled, tiny, train


OPTAX = [name for name, kind in OPTIMIZERS.items() if issubclass(kind, OptaxOptimizer)]


pytestmark = pytest.mark.filterwarnings("ignore:.optimistic_adam. is deprecated")


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""
    monkeypatch.setattr(worker, "Compiled", compiled)


def tree(seed: int) -> Any:
    drawn = np.random.default_rng(seed)
    return {
        "kernel": jnp.asarray(drawn.normal(size=(4, 3)), jnp.float32),
        "bias": jnp.asarray(drawn.normal(size=3), jnp.float32),
    }


def after(rule: optax.GradientTransformation, updates: int = 4) -> Any:
    """Parameters after updates with fixed gradients."""
    params = tree(0)
    state = rule.init(params)
    for step in range(updates):
        change, state = rule.update(tree(step + 1), state, params)
        params = optax.apply_updates(params, change)
    return params


def test_optax_is_there() -> None:
    wanted = "adamw lion nadam nadamw adafactor adagrad adadelta lamb lars radam yogi"
    assert set(wanted.split()) <= set(OPTAX)
    assert not any(name.startswith(("_", "scale_by")) for name in OPTAX)


def test_every_optimizer_has_its_formula() -> None:
    listed = {name: (doc, options) for name, doc, options in entries("optimizers")}
    assert listed.keys() == OPTIMIZERS.keys()
    assert FORMULAS.keys() == set(OPTAX)
    assert all(doc for doc, _ in listed.values())
    assert "weight_decay w" in listed["adamw"][0]
    assert listed["lion"][1] == "b1=0.9 b2=0.99 weight_decay=0.001"


@pytest.mark.parametrize("name", OPTAX)
def test_it_is_what_optax_makes(name: str) -> None:
    """With the defaults, where nothing is decayed."""
    made: Any = OPTIMIZERS[name]()
    decays = [f.name for f in dataclasses.fields(made) if "decay" in f.name]
    none = [field for field in decays if field.startswith("weight_decay")]
    zero = {field: None if field == "weight_decay_rate" else 0.0 for field in none}
    made = dataclasses.replace(made, **zero)
    theirs = getattr(optax, name)(0.01, **zero)
    ours = after(made.with_numbers(made.numbers()).transformation(0.01))
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(after(theirs)), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", OPTAX)
def test_decay_leaves_biases_alone(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(OPTIMIZERS[name])}
    known = fields & {"weight_decay", "weight_decay_rate"}
    if not known or name == "novograd":  # which takes no mask
        return
    made: list[Any] = []
    for size in (0.0, 0.5):
        nothing = {"weight_decay_rate": None}  # of adafactor, in place of 0
        value: Any = {field: size or nothing.get(field, 0.0) for field in known}
        made.append(after(OPTIMIZERS[name](**value).transformation(0.01)))
    none, some = made
    np.testing.assert_array_equal(none["bias"], some["bias"])
    assert not np.array_equal(none["kernel"], some["kernel"])


def test_numbers_are_inputs_of_one_program() -> None:
    """So that a sweep over them compiles once; what optax looks at is not."""
    one = tiny(optimizer=OPTIMIZERS["adamw"]())
    other = tiny(optimizer=OPTIMIZERS["adamw"](weight_decay=0.1, b1=0.5))  # pyright: ignore
    assert signature(one) == signature(other)
    found = build_hyper(other).optimizer
    assert found["weight_decay"] == np.float32(0.1) and found["b1"] == 0.5
    nesterov = tiny(optimizer=OPTIMIZERS["adamw"](nesterov=True))  # pyright: ignore
    assert signature(one) != signature(nesterov)


def test_a_number_that_is_an_input_has_the_effect_of_a_constant() -> None:
    (loose,) = train(tiny(optimizer=OPTIMIZERS["adamw"](weight_decay=0.0)))  # pyright: ignore
    (tight,) = train(tiny(optimizer=OPTIMIZERS["adamw"](weight_decay=1.0)))  # pyright: ignore
    size = lambda outcome: optax.tree.norm(outcome.params)
    assert size(tight) < size(loose)


@pytest.mark.parametrize("name", rows(OPTIMIZERS, ("adamw", "adafactor")))
def test_bits_are_the_same_alone_and_in_a_pack(name: str, tmp_path: Path) -> None:
    planned = jobs(f"optimizer={name}", "seed=0,1,2", "lr=0.01")
    together = start(tmp_path / "all", planned)
    assert together.failed == 0
    alone = start(tmp_path / "one", planned[1:2])
    one, other = params_of(together.runs[1]), params_of(alone.runs[0])
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    "words, said",
    [
        ("optimizer=adamv", "did you mean adam or"),
        ("optimizer=adamw optimizer.weight_deca=1", "optimizer.weight_decay"),
        ("optimizer=adamw optimizer.b1=much", "optimizer.b1=much must be a number"),
        ("optimizer=lion optimizer.eps=1", "unknown key 'optimizer.eps'"),
        ("optimizer=adam optimizer.b1=1", "optimizer.b1=1.0 is out of range"),
        ("optimizer=lbfgs", "unknown"),
    ],
)
def test_what_does_not_fit(words: str, said: str, capsys: Any) -> None:
    assert main(["train", "-n", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert not out and said in err and err.count("\n") == 1


def test_a_value_that_optax_refuses_is_one_sentence(monkeypatch: Any) -> None:
    def refusing(lr: Any, **values: Any) -> Any:
        raise ValueError("b1 must be small")

    kind = OPTIMIZERS["adamw"]
    monkeypatch.setattr(kind, "function", staticmethod(refusing))
    with pytest.raises(UserError, match="optimizer=adamw: .*b1 must be small"):
        tiny(optimizer=kind())
