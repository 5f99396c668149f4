"""Numbers that a file or a call holds and that an array of 32 bits does not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scripts.odd_inputs.case import add, case, expect, process
from scripts.odd_inputs.samples import ARRAYS, classes, csv, finished, load, npz, tokens


def _kept(inputs: Any, targets: Any) -> None:
    """What is read equals what was written, in value."""
    data = load(npz("a.npz", inputs=inputs, targets=targets))
    for name, given in (("inputs", inputs), ("targets", targets)):
        got = np.asarray(data[name], np.float64).reshape(np.shape(given))
        same = np.allclose(got, np.asarray(given, np.float64), rtol=1e-6)
        expect(same, f"{name}: {got.max()} was {np.asarray(given).max()}")


def _with(value: Any, kind: Any) -> np.ndarray:
    changed = tokens().astype(kind)
    changed[7, 2] = value
    return changed


for _name, _inputs, _targets in (
    ("token 2**63 - 1", _with(2**63 - 1, np.int64), classes()),
    ("token 2**32 as uint64", _with(2**32, np.uint64), classes()),
    ("token 2**31 as uint32", _with(2**31, np.uint32), classes()),
    ("class 2**40", tokens(), np.where(classes() == 1, 2**40, 0)),
    ("input -1e300", _with(-1e300, np.float64)[..., None], classes()),
    ("input 3.5e38", _with(3.5e38, np.float64)[..., None], classes()),
    ("target 4e38", tokens(), np.linspace(0, 4e38, 60)),
):
    add(_name, lambda i=_inputs, t=_targets: _kept(i, t))

add(
    "inputs in float16",
    lambda: _kept(_with(0.5, np.float16)[..., None], classes()),
    "never",
)
add(
    "tokens of 8 bits, unsigned",
    lambda: _kept(_with(200, np.uint8), classes()),
    "never",
)
add("complex inputs", lambda: _kept(tokens() * 1j, classes()), "must")


@case("must")
def infinity_written_in_a_csv() -> None:
    rows = tokens().astype(object)
    rows[3, 1] = "inf"
    load(csv("a.csv", rows, classes()))


@case()
def a_token_of_eleven_digits_in_a_csv() -> None:
    rows = tokens().astype(object)
    rows[3, 1] = 10_000_000_005
    data = load(csv("a.csv", rows, classes()))
    expect(data["inputs"].max() == 10_000_000_005, f"became {data['inputs'][3, 1]}")


@case("must")
def lengths_that_are_floats() -> None:
    load(npz("a.npz", lengths=np.full(60, 2.5)))


@case()
def a_class_of_1e9_in_a_run() -> None:
    """In a process of its own: an output for each class would take 12 GB."""
    path = npz("a.npz", targets=classes() * 10**9)
    words = [*ARRAYS, f"task.path={path}", "out=pool"]
    process(["train", *words], memory=12)


def _answers(inputs: Any, lengths: Any = None) -> None:
    finished().apply(inputs, lengths)


GOOD = np.array([[4, 1], [2, 3], [0, 0], [1, 4]])

for _name, _arguments in (
    ("a token outside the vocabulary", (GOOD + 3,)),
    ("a negative token", (GOOD - 1,)),
    ("a length beyond the steps", (GOOD, [4, 9])),
    ("a length of zero", (GOOD, [0, 2])),
    ("a length for one of two examples", (GOOD, [3])),
    ("tokens that are fractions", (GOOD + 0.5,)),
    ("tokens without a batch axis", (GOOD[:, 0],)),
    ("a token of 2**32 + 1", (GOOD.astype(np.int64) + 2**32,)),
):
    add(f"run.apply: {_name}", lambda given=_arguments: _answers(*given), "must")


@case("never")
def run_apply_answers_as_the_model_does() -> None:
    run = finished()
    got = run.apply(GOOD, [4, 2])
    want = run.model.apply({"params": run.params}, jnp.asarray(GOOD[:2, 1:]))
    whole = jax.device_get(run.apply(GOOD[:, :1]))
    expect(np.allclose(got[1], want[0], atol=1e-6), "the shorter sentence differs")
    expect(np.allclose(got[0], whole[0], atol=1e-6), "the longer sentence differs")
