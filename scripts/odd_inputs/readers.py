"""What readers of the README alone thought of: shared parts, helpers, broken stores."""

import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.errors import UserError
from scripts.odd_inputs.case import TINY, add, answers, case, expect, process
from scripts.odd_inputs.cells import CELL
from scripts.odd_inputs.models import BATCH, FEATURES, INPUTS, STEPS, compare, squares
from scripts.odd_inputs.samples import ROWS, npz, runs, tokens, train
from scripts.odd_inputs.text import reviews


Body = Callable[[Any], Any]
RNN: Any = nn.RNN
Simple: Any = nn.SimpleCell
ARRAYS = ["train", *TINY.split(), "task=arrays", "task.path=a.npz"]


class Made(nn.Module):
    """A model whose body is a function; what it makes is a part of the model."""

    body: Body

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return self.body(x)


def _encoder(x: Any) -> Any:
    return RNN(Simple(FEATURES), name="enc")(x)


def _decoder(y: Any) -> Any:
    return RNN(Simple(FEATURES), name="dec")(y)[:, -1]


def _twice(x: Any) -> Any:
    rnn = RNN(Simple(2), name="rnn")
    return rnn(rnn(jnp.flip(x, 1)))[:, -1]


def _shared(x: Any) -> Any:
    cell = Simple(2)
    return RNN(cell, name="b")(RNN(cell, name="a")(x))[:, -1]


@jax.custom_vjp
def _turned(y: Any) -> Any:
    return y


_turned.defvjp(lambda y: (y, None), lambda _, g: (-3.0 * g,))


def _sines(tree: Any) -> Any:
    return jax.tree.map(jnp.sin, tree)


def _mapped(x: Any) -> Any:
    cell: Any = nn.map_variables(Simple, "params", _sines, init=True)
    return RNN(cell(FEATURES), name="rnn")(x)[:, -1]


def _boxed(x: Any) -> Any:
    names = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    return RNN(Simple(FEATURES, kernel_init=names), name="rnn")(x)[:, -1]


def _branch(y: Any) -> Any:
    return jax.lax.cond(y.sum() > 0, lambda y: y, lambda y: -2 * y[:, ::-1], y)


def _of_each_use(body: Body, first: str, second: str, flipped: bool) -> None:
    """Shared weights: gradients of either use against those of separate weights."""
    model: Any = Made(body)
    params = model.init(jax.random.key(0), INPUTS)["params"]
    path, weights = next(iter(params.items()))

    def walked(weights: Any, x: Any) -> Any:
        h, states = jnp.zeros((BATCH, 2)), []
        for t in range(STEPS):
            drive = x[:, t] @ weights["i"]["kernel"] + weights["i"]["bias"]
            h = jnp.tanh(drive + h @ weights["h"]["kernel"])
            states.append(h)
        return jnp.stack(states, 1)

    def total(one: Any, other: Any) -> Any:
        x = jnp.flip(INPUTS, 1) if flipped else INPUTS
        return squares(walked(other, walked(one, x))[:, -1]).mean()

    exact = jax.grad(total, (0, 1))(weights, weights)
    seen = rnnjax.probe(
        model, params, INPUTS, squares, time_major=False, sections=("contributions",)
    )
    for name, gradient in zip((first, second), exact, strict=True):
        for kernel in "ih":
            label = f"{path}/{kernel}/kernel@{name}"
            got = float(seen.log10_gradient.sel(parameter=label))
            known = float(jnp.log10(jnp.linalg.norm(gradient[kernel]["kernel"])))
            expect(abs(got - known) < 1e-3, f"{label}: {got}, not {known}")


add("one layer called twice", lambda: _of_each_use(_twice, "rnn", "rnn#1", True))
add("one cell in two layers", lambda: _of_each_use(_shared, "a", "b", False))

MODELS: dict[str, Body] = {
    "a gradient reversal": lambda x: _decoder(_turned(_encoder(x))),
    "weights through map_variables": _mapped,
    "weights with names of a mesh": _boxed,
    "a branch between recurrences": lambda x: _decoder(_branch(_encoder(x))),
    "steps sorted between recurrences": lambda x: _decoder(
        jnp.sort(_encoder(x), axis=1)
    ),
}
for _name, _body in MODELS.items():
    add(_name, lambda body=_body: compare(Made(body)))


def _held(loss: Body, want: Body | None = None, frozen: bool = False) -> None:
    """Adjoints of every step against autodiff of an unrolled walk."""
    model: Any = Made(lambda x: RNN(Simple(FEATURES), name="rnn")(x))
    params = model.init(jax.random.key(0), INPUTS)["params"]
    weights = next(iter(params.values()))
    given = flax.core.freeze(params) if frozen else params
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        found = rnnjax.probe(
            model, given, INPUTS, loss, time_major=False, sections=("adjoints",)
        )

    def total(moved: Any) -> Any:
        h, states = jnp.zeros((BATCH, FEATURES)), []
        for t in range(STEPS):
            drive = INPUTS[:, t] @ weights["i"]["kernel"] + weights["i"]["bias"]
            h = jnp.tanh(drive + h @ weights["h"]["kernel"]) + moved[t]
            states.append(h)
        return (want or loss)(jnp.stack(states, 1)).mean()

    exact = jax.grad(total)(jnp.zeros((STEPS, BATCH, FEATURES)))
    known = np.log10(np.linalg.norm(np.asarray(exact, np.float64), axis=-1))
    got = found.log10_adjoint.isel(layer=0, array=0).values
    same = np.allclose(got, known, atol=1e-2)
    own = [one for one in said if issubclass(one.category, UserWarning)]
    if own and not same:
        raise UserError(str(own[0].message))
    expect(same, f"log10_adjoint {got[:3, 0]}, not {known[:3, 0]}")


def _contrast(y: Any) -> Any:
    return -jnp.diag(jax.nn.log_softmax(y[:, -1] @ y[:, -1].T, axis=1))


def _masked(y: Any) -> Any:
    """Losses of all steps but the last two, by a mask of the user's."""
    return (y**2).sum(-1) * (jnp.arange(STEPS) < STEPS - 2)


def _third(y: Any) -> Any:
    """That of the last step that it keeps."""
    return _masked(y) * (jnp.arange(STEPS) == STEPS - 3)


add("a loss that contrasts examples", lambda: _held(_contrast))
add("a loss of 1e38", lambda: _held(lambda y: 1e38 * squares(y[:, -1])))
add("a mask of the user's in a loss a step", lambda: _held(_masked, _third))
add("parameters in a FrozenDict", lambda: _held(_contrast, frozen=True))


def _classes(*names: str) -> None:
    """Names that look the same are one class."""
    lines = [f"word{i % 7} ok\t{names[i % len(names)]}\n" for i in range(ROWS)]
    task = reviews("a.tsv", lines)
    found = task.spec(task.load()).classes
    expect(len(found) == 2, f"{len(found)} classes {found}")


FORMS = [unicodedata.normalize(form, "réussi") for form in ("NFC", "NFD")]
add("a class in two unicode forms", lambda: _classes("raté", *FORMS))
add("a class with a zero-width space", lambda: _classes("bad", "good", "good\u200b"))


@case()
def a_header_of_other_words() -> None:
    lines = [f"word{i % 7} ok,{('good', 'bad')[i % 2]}\n" for i in range(ROWS)]
    task = reviews("a.csv", ["tweet,mood\n", *lines])
    found = task.spec(task.load()).classes
    expect(len(found) == 2, f"the header is a sentence, its classes {found}")


def _loss(*words: str, out: str, **environ: str) -> float:
    """The loss that the command has just computed, or else found."""
    before = {run.name for run in runs(out)} if Path(out).exists() else set()
    process([*words, f"out={out}"], None, **environ)
    made = [run for run in runs(out) if run.name not in before] or runs(out)
    held = [json.loads((run / "manifest.json").read_text()) for run in made]
    return max(held, key=lambda one: one["steps"])["results"]["test_loss"]


def _environment(**environ: str) -> None:
    npz("a.npz")
    _loss(*ARRAYS, out="pool")
    got, want = (_loss(*ARRAYS, out=out, **environ) for out in ("pool", "fresh"))
    expect(np.isclose(got, want, rtol=1e-4), f"test_loss {got}, not {want}")


RBG = {"JAX_DEFAULT_PRNG_IMPL": "rbg"}
add("another generator where a run is", lambda: _environment(**RBG))
add("a run without jit", lambda: _environment(JAX_DISABLE_JIT="1"))


@case()
def a_run_resumed_under_another_generator() -> None:
    npz("a.npz")
    _loss(*ARRAYS, out="pool")
    words = [*ARRAYS, "steps=4"]
    got = _loss(*words, out="pool", **RBG)
    known = _loss(*words, out="one"), _loss(*words, out="two", **RBG)
    expect(got in known, f"test_loss {got}, that of neither generator {known}")


@case()
def a_cell_whose_helper_was_edited() -> None:
    own = CELL.format(body="return turn(drive + self.recur('U', h))")
    Path("mine.py").write_text(f"from odd_helper import turn\n{own}")
    words = [*TINY.split(), "cell=mine.py:Mine", "task.distance=4"]
    losses = []
    sys.path.insert(0, os.getcwd())
    for body, out in (("jnp.tanh(x)", "pool"), ("3 * x", "pool"), ("3 * x", "fresh")):
        text = f"import jax.numpy as jnp\ndef turn(x): return {body}\n"
        Path("odd_helper.py").write_text(text)
        sys.modules.pop("odd_helper", None)
        losses.append(rnnjax.train(*words, out=out).results["test_loss"])
    sys.path.remove(os.getcwd())
    expect(losses[1] == losses[2], f"test_loss {losses[1]}, not {losses[2]}")


def _changed(file: str, change: Callable[[bytes], bytes], read: Body) -> None:
    """A run one of whose files is no longer that which its manifest seals."""
    run = train(path=npz("a.npz")).path
    (run / file).chmod(0o644)
    (run / file).write_bytes(change((run / file).read_bytes()))
    read(run)


def _answer(run: Path) -> Any:
    return answers(run, tokens()[:2].T)


def _relu(text: bytes) -> bytes:
    expect(b"activation: tanh" in text, "the configuration names no activation")
    return text.replace(b"activation: tanh", b"activation: relu")


def _other(_: bytes) -> bytes:
    return (train("seed=1", path="a.npz").path / "params.msgpack").read_bytes()


for _name, _file, _change, _read in (
    ("parameters of no bytes", "params.msgpack", lambda _: b"", _answer),
    ("parameters of another run", "params.msgpack", _other, _answer),
    ("an activation edited in a run", "config.yaml", _relu, _answer),
    (
        "a size edited in a run",
        "config.yaml",
        lambda text: text.replace(b"hidden: 3", b"hidden: 4"),
        lambda run: process(["probe", f"run={run}", "sections=adjoints"]),
    ),
    (
        "a table that is cut off",
        "metrics.parquet",
        lambda content: content[:50],
        lambda run: rnnjax.open_run(run).metrics,
    ),
):
    add(_name, lambda f=_file, c=_change, r=_read: _changed(f, c, r), "must")
