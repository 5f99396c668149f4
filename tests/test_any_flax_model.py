"""What a user of Flax hands to `rnnjax.probe`: names, layouts, losses, other loops."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax.analysis.datasets import record
from rnnjax.analysis.flax_calls import as_called
from rnnjax.analysis.parameter_rows import by_path
from rnnjax.analysis.scalar_loss import examined
from rnnjax.analysis.time_axis import time_first
from rnnjax.cells import ExpRNN
from rnnjax.errors import UserError
from rnnjax.probes import kernels
from rnnjax.probes.backward.parameter_gradient import log10_gradients, scaled_gradient
from rnnjax.probes.backward.segments import marked
from rnnjax.probes.backward.trace import backward, open_up
from rnnjax.probes.contributions.to_other_parameters import free_parameters
from rnnjax.recurrence.layer import Recurrent


SIZE, LENGTH, WIDTH = 2, 5, 3
KERNELS = ("h/kernel", "i/kernel", "i/bias")
RANDOM = np.random.default_rng(0)
VECTORS = jnp.asarray(RANDOM.standard_normal((SIZE, LENGTH, WIDTH)), jnp.float32)
TOKENS = jnp.asarray(RANDOM.integers(0, 4, (SIZE, LENGTH)))
TARGETS = jnp.asarray([[0.5], [-1.0]])


@pytest.fixture(autouse=True)
def _users_broadcast():
    """Linen's layers add a bias to a batch."""
    with jax.numpy_rank_promotion("allow"):
        yield


class Tied(nn.Module):
    """A recurrence called twice, a derived kernel, and words that are read out."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens):
        kind: Any = {"param_dtype": self.dtype}
        words = nn.Embed(4, WIDTH, name="words", **kind)
        again = nn.RNN(nn.SimpleCell(WIDTH, **kind), name="again")
        x = nn.Dense(WIDTH, name="projection", **kind)(words(tokens))
        once: Any = again(x)
        x = jnp.swapaxes(cast(Any, again(once)), 0, 1)
        ours = ExpRNN(WIDTH, WIDTH, self.dtype, parent=None)
        x, _ = Recurrent(ours, name="ours")(x)
        return words.attend(nn.Dense(WIDTH, name="head", **kind)(x[-1]))


class Pooled(nn.Module):
    """Batch first; answers at the end, at every step, or of all steps together."""

    show: str = "end"

    @nn.compact
    def __call__(self, x):
        y = nn.RNN(nn.SimpleCell(WIDTH), name="rnn")(x)
        y = nn.Dense(1, name="head")(y)
        return {
            "end": y[:, -1],
            "steps": y,
            "mean": jnp.mean(y, axis=1),
            "flat": jnp.reshape(y, (-1, 1)),
            "smeared": jnp.cumsum(y[:, ::-1], axis=1),
        }[self.show]


class Turned(nn.Module):
    """Time first inside of a model whose inputs have the batch first."""

    @nn.compact
    def __call__(self, x):
        y: Any = nn.RNN(nn.SimpleCell(2), time_major=True)(jnp.swapaxes(x, 0, 1))
        return y[-1]


class Normalised(nn.Module):
    training: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.training)(x)
        y: Any = nn.RNN(nn.SimpleCell(2))(x)
        return y[:, -1]


class Scanned(nn.Module):
    """A cell that the user scans."""

    @nn.compact
    def __call__(self, x):
        scan: Any = nn.scan(
            nn.SimpleCell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        cell = scan(WIDTH, name="mine")
        return cell(jnp.zeros((x.shape[0], WIDTH)), x)[1][:, -1]


def squares(answers: Any) -> Any:
    return jnp.sum(jnp.square(answers), axis=-1)


def started(model: nn.Module, inputs: Any) -> Any:
    return model.init(jax.random.key(0), inputs)


def test_parameters_have_the_names_and_the_gradients_of_the_user():
    params = started(Tied(), TOKENS)["params"]
    # with this the gradient of the projection is below the range of float32
    small = params["SimpleCell_0"]["i"]
    small = {"kernel": 1e-22 * small["kernel"], "bias": small["bias"] + 0.1}
    params["SimpleCell_0"]["i"] = small

    def total(params: Any, model: Any) -> Any:
        return jnp.mean(squares(model.apply({"params": params}, TOKENS)))

    sources: list[Any] = []

    @jax.jit
    def norms(params: Any) -> Any:
        called = as_called(Tied(), params, TOKENS, squares)
        mean = lambda answers: jnp.mean(squares(answers))
        valid = jnp.ones((LENGTH, SIZE), bool)
        options: Any = {"time_major": False}
        passed = open_up(called.apply, params, TOKENS, squares, mean, valid, **options)
        seen = backward(passed, jnp.full((SIZE,), 1 / SIZE))
        gradient = jax.grad(mean)(passed.segments.answers)
        sources.append(passed.segments.sources())
        return seen, log10_gradients(scaled_gradient(passed, seen, gradient))

    seen, found = norms(params)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        expected = jax.jit(jax.grad(total), static_argnums=1)(wide, Tied(jnp.float64))
    assert np.linalg.norm(expected["projection"]["kernel"]) < 1e-40
    leaves = jax.tree_util.tree_flatten_with_path(expected)[0]
    known = {
        jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves
    }
    assert list(found) == list(known)
    for name, x in known.items():
        assert found[name] == pytest.approx(np.log10(np.linalg.norm(x)), abs=1e-3), name

    rows = [kernel.name for kernel in kernels(seen)]
    rows += [f"{w.name}/{name}" for w in seen.walks for name in free_parameters(w)]
    measured = record({"k90": np.full(len(rows), 7.0)}, {"parameter": rows})
    measured["log10_gradient"] = measured["k90"]
    data = by_path(measured, seen, sources[-1], found)
    names = data.parameter.values.tolist()
    assert [name for name in names if "@" not in name] == list(known)
    assert {name for name in names if "@" in name} == {
        "words/embedding@words",
        "ours/cell/B@ours",
        *(f"SimpleCell_0/{k}@again{call}" for k in KERNELS for call in ("", "#1")),
    }
    # of what no recurrence alone uses there is the gradient, and nothing by step
    whole = {name: float(data.log10_gradient.sel(parameter=name)) for name in known}
    apart = {name for name in known if whole[name] == 7.0}
    assert set(data.parameter.values[np.isnan(data.k90)]) == set(known) - apart
    shared = {f"SimpleCell_0/{k}" for k in KERNELS} | {"words/embedding"}
    outside = {f"{k}/{n}" for k in ("head", "projection") for n in ("kernel", "bias")}
    assert set(known) - apart == shared | outside


LAYOUTS = {
    "batch first": (Pooled(), VECTORS, False),
    "turned": (Turned(), VECTORS, False),
    "square": (Turned(), VECTORS[:, :SIZE], False),
    "square tokens": (Tied(), TOKENS[:, :SIZE], False),
    "time first": (Recurrent(ExpRNN(WIDTH, 2)), VECTORS, True),
    "square, time first": (
        nn.RNN(nn.SimpleCell(2), time_major=True),
        VECTORS[:, :2],
        True,
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_axis_of_time_is_found(name):
    model, inputs, expected = LAYOUTS[name]
    params = jax.eval_shape(lambda x: started(model, x), inputs)["params"]
    called = as_called(model, params, inputs, squares)
    program = marked(called.apply, called.params, called.inputs)
    assert time_first(called, program, None) is expected
    assert time_first(called, program, expected) is expected
    with pytest.raises(UserError, match=f"say time_major={expected}"):
        time_first(called, program, not expected)


def test_as_many_steps_as_examples_in_a_model_of_a_fixed_size():
    inputs = VECTORS[:, :SIZE]
    params = started(Turned(), inputs)["params"]

    def fixed(params: Any, x: Any) -> Any:
        return Turned().apply({"params": params}, x + jnp.ones_like(inputs))

    called = as_called(fixed, params, inputs, squares)
    program = marked(fixed, params, inputs)
    with pytest.raises(UserError, match="say time_major=True or time_major=False"):
        time_first(called, program, None)
    assert [time_first(called, program, told) for told in (True, False)] == [
        True,
        False,
    ]


def test_all_variables_of_a_module_are_taken():
    variables = started(Normalised(), VECTORS)
    statistics = jax.tree.map(lambda x: x + 1, variables["batch_stats"])
    variables = {**variables, "batch_stats": statistics}
    called = as_called(Normalised(), variables, VECTORS, squares)
    assert set(called.params) == {"BatchNorm_0", "SimpleCell_0"}
    np.testing.assert_array_equal(
        called.apply(called.params, VECTORS), Normalised().apply(variables, VECTORS)
    )
    with pytest.raises(UserError, match="cannot be run.*batch_stats"):
        as_called(Normalised(True), variables, VECTORS, squares)


def of_example(answers: Any) -> Any:
    return jnp.mean(jnp.square(answers - TARGETS), axis=-1)


def of_step(answers: Any) -> Any:
    return jnp.mean(jnp.square(answers - TARGETS[:, None]), axis=-1)


@pytest.mark.parametrize(
    ("show", "each"),
    [pytest.param("end", of_example, marks=pytest.mark.slow), ("steps", of_step)],
)
def test_a_mean_is_as_good_as_the_losses(show, each):
    model = Pooled(show)
    params = started(model, VECTORS)
    sections = ("adjoints",)
    known = rnnjax.probe(model, params, VECTORS, each, sections=sections)
    mean = lambda answers: jnp.mean(each(answers))
    found = rnnjax.probe(model, params, VECTORS, mean, sections=sections)
    assert set(found) == set(known) and found.attrs["loss"] != known.attrs["loss"]
    for name in known:
        a, b = (x[name].values for x in (found, known))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=str(name))
    finite = np.isfinite(known.log10_adjoint)
    assert finite.sum() >= SIZE * LENGTH, "nothing was compared"


def contrast(answers: Any) -> Any:
    """Examples are each other's negatives."""
    return jnp.mean(squares(answers - jnp.mean(answers, axis=0, keepdims=True)))


SCALARS: dict[str, tuple[str, Any, tuple[bool, bool]]] = {
    "end": ("end", lambda y: jnp.mean(of_example(y)), (True, False)),
    "sum of steps": ("steps", lambda y: jnp.sum(of_step(y)), (False, False)),
    "end of steps": ("steps", lambda y: jnp.mean(of_example(y[:, -1])), (True, False)),
    "mean": ("steps", lambda y: jnp.mean(of_example(y.mean(1))), (True, False)),
    "mean before": ("mean", lambda y: jnp.mean(of_example(y)), (True, False)),
    "contrast": ("end", contrast, (True, True)),
    "contrast of steps": ("steps", contrast, (False, True)),
}


@pytest.mark.parametrize("name", SCALARS)
def test_what_one_number_is_made_of(name):
    show, loss, expected = SCALARS[name]
    found = look(Pooled(show), loss)
    assert (found.single, bool(found.doubts)) == expected
    shape = (SIZE, LENGTH, 1) if show == "steps" else (SIZE, 1)
    answers = jnp.asarray(RANDOM.standard_normal(shape), jnp.float32)
    mine = jax.grad(lambda y: jnp.sum(found.each(y) * found.every))(answers)
    np.testing.assert_allclose(mine, jax.grad(loss)(answers), rtol=1e-6)


def look(model: Any, loss: Any) -> Any:
    called = as_called(model, started(model, VECTORS), VECTORS, loss)
    program = marked(called.apply, called.params, called.inputs)
    lengths = jnp.full((SIZE,), LENGTH, jnp.int32)
    return examined(called, program, loss, lengths, LENGTH, time_major=False)


@pytest.mark.parametrize("show", ["flat", "smeared"])
def test_a_number_that_cannot_be_taken_apart_is_refused(show):
    with pytest.raises(UserError, match=r"per example \(2,\) or per step \(5, 2\)"):
        look(Pooled(show), lambda y: jnp.mean(jnp.square(y)))


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.rnn: Any = nnx.RNN(nnx.SimpleCell(WIDTH, WIDTH, rngs=rngs))

    def __call__(self, x: Any) -> Any:
        return self.rnn(x)[:, -1]


def merged(params: Any, x: Any) -> Any:
    net: Any = nnx.merge(nnx.split(Net(nnx.Rngs(0)))[0], params)
    return net(x)


@pytest.mark.parametrize("name", ["nnx", "nn.scan"])
def test_other_loops_take_the_road_of_any_program(name):
    model: Any = merged if name == "nnx" else Scanned()
    if name == "nnx":
        run, kernel, params = model, "kernel", nnx.split(Net(nnx.Rngs(0)))[1]
    else:
        run, kernel, params = model.apply, "mine/h/kernel", started(model, VECTORS)
    seen = rnnjax.probe(model, params, VECTORS, squares, time_major=False)
    assert seen.layer.values.tolist() == ["loop0"] and seen.sizes["time"] == LENGTH
    assert any(kernel in name for name in seen.parameter.values)
    loss = jnp.mean(squares(run(params, VECTORS)))
    np.testing.assert_allclose(seen.loss, loss, rtol=1e-6)
    with pytest.raises(UserError, match="lengths are for models that run Recurrent"):
        rnnjax.probe(model, params, VECTORS, squares, lengths=[5, 5])


def zeros(model: nn.Module) -> Any:
    shapes = jax.eval_shape(lambda: started(model, VECTORS))
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


P = zeros(Pooled())["params"]

SLIPS: dict[str, tuple[tuple[Any, ...], str]] = {
    "exchanged": ((VECTORS, P, squares), "parameters and inputs are exchanged"),
    "order": ((P, squares, VECTORS), "the loss is an array of shape .*not a function"),
    "no loss": ((P, VECTORS), "no loss"),
    "no inputs": ((P,), "no inputs and no loss"),
    "too many": ((P, VECTORS, squares, 3), "4 of them"),
    "another model": (
        (zeros(Scanned()), VECTORS, squares),
        "cannot be run with these parameters.*ScopeCollectionNotFound",
    ),
    "another size": ((P, VECTORS[..., :2], squares), r"inputs of shape \(2, 5, 2\)"),
    "no axes": ((P, VECTORS[0, 0], squares), r"inputs of shape \(3,\)"),
    "a dictionary": ((P, {"x": VECTORS}, squares), "inputs are of type dict"),
    "tokens": ((P, TOKENS, squares), r"inputs of shape \(2, 5\) and type int32"),
    "no example": ((P, VECTORS[:0], squares), "at least one step and one example"),
    "targets": (
        (P, VECTORS, lambda y: y - jnp.ones((7, 1))),
        r"the loss fails on the answers of the model \(float32 \(2, 1\)\)",
    ),
    "classes": ((P, VECTORS, lambda y: jnp.argmax(y, -1)), "returns int32, not"),
    "tuple": ((P, VECTORS, lambda y: (y, y)), "returns a tuple, not"),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_ends_in_one_sentence(name):
    args, message = SLIPS[name]
    with pytest.raises(UserError, match=message) as caught:
        rnnjax.probe(Pooled(), *args)
    assert "\n" not in str(caught.value)
