"""The table: probes of every cell with every activation against brute force.

Exemplars of cells; all of them with ``--all``.

``pytest -s`` prints the worst relative error of each kind for every row: adjoints
against `jax.grad` in both precisions and, in single precision, against a
back-propagation in double precision along the stored states; the Jacobians against
`jax.jacfwd`; then norms, signed shares and their sum for the contributions.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from rnnjax.activations import ACTIVATIONS
from rnnjax.cells import CELLS, Cell
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes import kernels, log10_norms, trace
from rnnjax.probes.dynamics.jacobian import jacobians
from rnnjax.recurrence.functional import call, with_kernels
from rnnjax.types import Batch
from tests.probe_errors import (
    adjoint_sizes,
    contributions,
    relative,
    share_errors,
)
from tests.probe_loop import Loop
from tests.probe_models import CLASSES, VOCABULARY, batch_of, spec_of
from tests.recurrence_samples import Reused, noise, quick_jit, rows, shapes_of


FEATURES, EMBEDDING = 4, 3
PADDED = 12
LENGTHS = {5: [5, 3, 1], 12: [12, 7, 1]}
"""By T; both are padded to the longer one, so that they share a program."""

KERNELS = {
    "antisymmetric": "V A",
    "atr": "V U",
    "brc": "V wa wc",
    "cfn": "V U",
    "cornn": "V Wy Wz",
    "elman": "V U",
    "exprnn": "T B",
    "fastgrnn": "V U",
    "fastrnn": "V U",
    "gated_antisymmetric": "V A",
    "gru": "V U",
    "gru_before": "V U Uh",
    "indrnn": "V u",
    "janet": "V U",
    "leaky": "V U",
    "lem": "V U Uy",
    "lightru": "V U",
    "ligru": "V U",
    "lru": "B C D lambda",
    "lstm": "V U",
    "mgu": "V U Uh",
    "mingru": "V",
    "minimal_rnn": "V Uz U",
    "minlstm": "V",
    "multiplicative_lstm": "Vm V Um U",
    "mut1": "V U Uh",
    "nbrc": "V U",
    "peephole_lstm": "V U pi pf po",
    "ran": "V U",
    "rhn": "V R1 R2",
    "scrn": "A B R P",
    "star": "V U",
    "ugrnn": "V U",
    "urnn": "V W",
}
"""What the products of each cell's equations multiply with."""

OPTIONS: dict[str, dict[str, Any]] = {"rhn": {"depth": 2}, "scrn": {"context": 3}}
LIMITS = {"32": 1e-5, "64": 1e-10, "stored": 1e-5}


class Numbered:
    """φ by its number in the registry, which may be traced: one program serves all."""

    def __init__(self, number: Any) -> None:
        self.number = jnp.asarray(number).astype(jnp.int32)

    def __call__(self, z: Any, name: Any = None) -> Any:
        return lax.switch(self.number, [phi.function for phi in PHIS], z)


PHIS = list(ACTIVATIONS.values())


def with_any_activation(kind: Any) -> type[Cell]:
    """The cell with a φ that is known by its number alone."""

    class AnyActivation(kind):
        number: Any = 0.0

        def setup(self):
            super().setup()
            self.phi = Numbered(self.number)

    return AnyActivation


class Row:
    """One cell with its two programs: in single and in double precision."""

    def __init__(self, kind: type[Cell], names: str, **options: Any) -> None:
        self.kind, self.options, self.names = kind, options, tuple(names.split())
        model, tokens = self.model(False, {}), jnp.zeros((PADDED, 3), jnp.int32)
        made = jax.eval_shape(model.init, jax.random.key(0), tokens)
        self.params = noise(1, made["params"], 0.6)
        self.programs = {double: self.program(double) for double in (False, True)}

    def model(self, double: bool, numbers: Any) -> SequenceModel:
        dtype = jnp.float64 if double else jnp.float32
        cell = self.kind(EMBEDDING, FEATURES, dtype, **self.options, **numbers)
        kind: dict[str, Any] = {"embedding": EMBEDDING, "readout": "every"}
        kind["learn_initial_state"] = True
        return SequenceModel(cell, CLASSES, VOCABULARY, **kind)

    def program(self, double: bool) -> Callable[..., Any]:
        @quick_jit
        def run(params: Any, batch: Batch, numbers: Any, stored: Any) -> Any:
            model, spec = self.model(double, numbers), spec_of("every", PADDED)
            seen = trace(model, params, batch, spec, lag="last")
            (walk,) = seen.walks
            probed = {
                "states": walk.states,
                "adjoint": walk.adjoint,
                "norms": log10_norms(walk, seen.valid),
                "valid": seen.valid,
                "kernels": kernels(seen),
            }
            cell = model.cell.clone(inputs=EMBEDDING)
            loop = Loop(cell, self.names, params, batch, spec)
            brute: dict[str, Any] = {"lagged": loop.lagged()}
            if double:
                probed["jacobians"] = jacobians(walk.forward)
                brute |= {"gradients": loop.gradients(), "along": loop.along(stored)}
                brute["jacobians"] = loop.jacobians(walk.states)
            return probed, brute

        return run

    def worst(self, **numbers: Any) -> dict[str, float]:
        """The worst error of each kind over both T; checks exact zeros on the way."""
        found: list[dict[str, float]] = []
        for seed, lengths in LENGTHS.items():
            batch = batch_of("every", PADDED, lengths, seed)
            args = self.params, batch, numbers, None
            single, brute = jax.device_get(self.programs[False](*args))
            single["parts"] = contributions(single["kernels"])
            with jax.enable_x64(True):
                batch = batch_of("every", PADDED, lengths, seed)
                stored = single["states"]
                args = jax.tree.map(upcast, (self.params, batch, numbers, stored))
                double, exact = jax.device_get(self.programs[True](*args))
                double["parts"] = contributions(double["kernels"])
            adjoint, gradients = exact["along"]
            found.append(
                {
                    "grad32": adjoint_error(single, brute["lagged"]),
                    "grad64": adjoint_error(double, exact["lagged"]),
                    "stored": adjoint_error(single, adjoint),
                    "J64": jacobian_error(double["jacobians"], exact["jacobians"]),
                    **contribution_errors(single, gradients, "32"),
                    **contribution_errors(double, exact["gradients"], "64"),
                }
            )
        return {kind: max(one[kind] for one in found) for kind in found[0]}


def upcast(x: Any) -> Any:
    x = np.asarray(x)
    inexact = np.issubdtype(x.dtype, np.inexact)
    return x.astype(np.result_type(x.dtype, np.float64)) if inexact else x


def adjoint_error(probed: Any, expected: Any) -> float:
    """Of the joint state and of each array: the vectors, and their log10 norms."""
    valid, adjoint = probed["valid"], probed["adjoint"]
    for mantissa in jax.tree.leaves(adjoint.mantissa):
        assert np.all(mantissa[~valid] == 0), "padding has an adjoint"
    log10 = np.asarray(probed["norms"], np.float64)
    assert np.array_equal(np.isnan(log10), np.broadcast_to(~valid, log10.shape))
    off, size = adjoint_sizes(adjoint, expected)
    assert np.any(size[0, 0] > 0), "nothing reaches the first step"
    off_norm = np.abs(10.0 ** np.where(valid, log10, -np.inf) - size)
    return max(relative(off, size), relative(off_norm, size))


def jacobian_error(found: Any, expected: Any) -> float:
    """The largest part of ‖J_t‖ that J_t is off; J_t of dead units is zero."""
    size = lambda x: np.linalg.norm(x, axis=(-2, -1))
    whole = size(expected)
    assert found.shape == expected.shape and np.mean(whole > 0) > 0.9
    return float(np.max(size(found - expected) / np.where(whole > 0, whole, 1.0)))


def contribution_errors(probed: Any, expected: Any, bits: str) -> dict[str, float]:
    """The worst over all kernels, by kind and precision."""
    padded = ~np.any(probed["valid"], 1)
    for kernel in probed["kernels"]:
        for use in kernel.uses:
            assert np.all(use.delta.mantissa[~probed["valid"]] == 0), kernel.name
    errors = []
    for name, part in probed["parts"].items():
        assert np.all(np.isneginf(part.log10_norm[padded])), name
        assert np.all(part.signed_share[padded] == 0), name
        assert np.all(part.norm_share[padded] == 0), name
        errors.append(share_errors(part, expected.pop(name.rpartition("/")[2])))
    assert not expected, "kernels that the probe did not see"
    return {kind + bits: max(one[kind] for one in errors) for kind in errors[0]}


def check(label: str, worst: dict[str, float]) -> None:
    print(label.ljust(22), *(f"{k} {v:.0e}" for k, v in worst.items()))
    for kind, value in worst.items():
        limit = next(v for k, v in LIMITS.items() if kind.endswith(k))
        assert value < limit, f"{label}: {kind} is {value:.1e}"


@pytest.mark.parametrize("cell", rows(KERNELS, ["lstm"]))
def test_every_cell_with_every_activation(cell):
    kind, options = CELLS[cell], OPTIONS.get(cell, {})
    if not hasattr(kind, "activation"):
        check(cell, Row(kind, KERNELS[cell], **options).worst())
        return
    row = Row(with_any_activation(kind), KERNELS[cell], **options)
    for number, name in enumerate(ACTIVATIONS):
        check(f"{cell} {name}", row.worst(number=np.float32(number)))


@pytest.mark.parametrize("cell", KERNELS)
def test_every_product_of_a_cell_is_a_seam(cell):
    made = CELLS[cell](EMBEDDING, FEATURES, **OPTIONS.get(cell, {}))
    static, weights, state, x = shapes_of(made, batch=3)

    def run(weights: Any, state: Any, x: Any) -> Any:
        drive, read = call(static, weights, "readin", x)
        new, used = call(static, weights, "step", state, drive)
        out, shown = call(static, weights, "readout", new, drive)
        return (new, out), {**read, **used, **shown}

    _, seams = jax.eval_shape(run, weights, state, x)
    assert {seam.kernel for seam in seams.values()} == set(KERNELS[cell].split())
    weights = with_kernels(weights, seams)
    program = str(jax.make_jaxpr(lambda *args: run(*args)[0])(weights, state, x))
    products = sum(seam.form == "dense" for seam in seams.values())
    assert program.count("dot_general") == products


def test_every_registered_cell_is_in_the_table():
    assert set(KERNELS) == set(CELLS)


@pytest.mark.slow
def test_a_kernel_used_twice_and_a_block_kernel():
    check("twice", Row(Reused, "V U G").worst())
