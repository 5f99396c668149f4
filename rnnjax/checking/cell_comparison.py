"""A cell beside Elman, LSTM and GRU: numbers for orientation."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import CELLS
from rnnjax.checking.cell_program import traced
from rnnjax.checking.cell_subject import Subject, noise, quick_jit
from rnnjax.checking.rows import Row
from rnnjax.probes.backward.single_layer import lagged_norms, walk_layer
from rnnjax.probes.dynamics.jacobian import jacobians, spectrum
from rnnjax.probes.factors.gates import gates as find_gates
from rnnjax.probes.factors.slopes import preactivations
from rnnjax.recurrence.jaxprs import equations


GROUP = "compare"
BESIDE = ("elman", "lstm", "gru")
STEPS, EXAMPLES, INPUTS, UNITS = 30, 4, 8, 16


@dataclasses.dataclass(frozen=True)
class Figures:
    """What is compared, at the initial parameters.

    Attributes:
        parameters: number of parameters, 16 units with 8 inputs.
        products: matrix products in a step, without those of the readin.
        decay: factor of the adjoint's norm for each step back, geometric mean.
        radius: spectral radius of the Jacobian of the last step, mean over examples.
        seconds: time of forward and backward pass, for each step.
        gates: mean openness of each gate.
    """

    parameters: int
    products: int
    decay: float
    radius: float
    seconds: float
    gates: Mapping[str, float]


def comparison(subject: Subject) -> Iterator[Row]:
    """One note for each number: this cell, then the others."""
    others = [Subject(name, CELLS[name]) for name in BESIDE]
    others = [other for other in others if other.kind is not subject.kind]
    all_cells = [subject, *others]
    found = [figures(one) for one in all_cells]
    elman = next(
        (f for s, f in zip(all_cells, found, strict=True) if s.name == "elman"),
        found[0],
    )
    rows = {
        "parameters": [str(f.parameters) for f in found],
        "matrix products of a step": [str(f.products) for f in found],
        "adjoint per step back": [f"{f.decay:.3g}" for f in found],
        "spectral radius of J": [f"{f.radius:.3g}" for f in found],
        "time of a step": [f"{f.seconds / elman.seconds:.2g}" for f in found],
        "gates at the start": [_listed(f.gates) for f in found],
    }
    for name, values in rows.items():
        rest = zip(others, values[1:], strict=True)
        beside = ", ".join(f"{other.name} {value}" for other, value in rest)
        yield Row(GROUP, name, "note", f"{values[0]} ({beside})")


def _listed(gates: Mapping[str, float]) -> str:
    return " ".join(f"{name} {mean:.2f}" for name, mean in gates.items()) or "none"


def figures(subject: Subject) -> Figures:
    """Measure one cell; its time is taken without the optimisations of XLA."""
    cell = subject.build("float32", INPUTS, UNITS)
    state = cell.initial_state((EXAMPLES,))
    x = jnp.asarray(noise(3, np.zeros((STEPS, EXAMPLES, INPUTS))), jnp.float32)
    make = quick_jit(lambda key: cell.init(key, state, x[0]))
    params: Any = make(jax.random.key(0)).get("params", {})
    cotangent = jax.tree.map(jnp.asarray, noise(4, state))

    def run(params: Any) -> Any:
        walked = walk_layer(cell, params, x)
        opened = {
            gate.name: jnp.mean(gate.openness)
            for gate in find_gates(preactivations(walked))
        }
        norms = lagged_norms(walked, cotangent)
        return norms, jacobians(walked, [STEPS - 1]), opened

    program = quick_jit(run)
    norms, matrices, opened = jax.block_until_ready(program(params))
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        jax.block_until_ready(program(params))
        seconds.append(time.perf_counter() - start)
    fall = np.asarray(norms)[-1] - np.asarray(norms)[0]
    with np.errstate(invalid="ignore"):
        decay = float(10 ** -(np.mean(fall) / (STEPS - 1)))
    radius = np.abs(spectrum(matrices[0]).eigenvalues[:, 0])
    return Figures(
        parameters=sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params)),
        products=_products(subject),
        decay=decay,
        radius=float(np.mean(radius)),
        seconds=min(seconds) / STEPS,
        gates={name: float(mean) for name, mean in opened.items()},
    )


def _products(subject: Subject) -> int:
    """Matrix products of the step, without those of the readin."""
    whole, readin = (
        sum(e.primitive.name == "dot_general" for e in equations(program))
        for program in (traced(subject, "float32", m) for m in ("step", "readin"))
    )
    return whole - readin
