"""Ten headline texts before and after they were redefined, each recomputed in NumPy.

    python -m scripts.headlines [--out docs/headlines.md]

The tool's own number stands beside one from float64 NumPy written from the equations of
the cells: it shares the parameters and the sentences with the tool, and no probe. What
was said before is quoted from the version before the change. Two minutes, of which one
trains ten small networks.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from rnnjax.analysis.configured_run import analyze_run
from rnnjax.report.probe_summary import summary
from rnnjax.report.study import read_study
from rnnjax.report.text_flow import training_effect
from rnnjax.reproduce.training import at_stages, stages
from rnnjax.store.aggregate import range_of
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import heldout, initial_params
from rnnjax.training.config import RunConfig


NEAR = 6
SEEDS, UPDATES = 5, 600
STATIONARY, DROPPED = 2000, 500


class Weights(NamedTuple):
    """Of a network of one layer, in float64."""

    E: np.ndarray
    U: np.ndarray
    V: np.ndarray
    b: np.ndarray
    W: np.ndarray
    a: np.ndarray

    @classmethod
    def of(cls, params: dict) -> "Weights":
        cell, head = params["stack_0_0"]["cell"], params["head"]
        parts = params["embed"]["embedding"], cell["U"], cell["V"], cell["b"]
        arrays = (*parts, head["kernel"], head["bias"])
        return cls(*(np.asarray(x, np.float64) for x in arrays))


class Step(NamedTuple):
    """One step: the joint state after it, and its Jacobian ``(N, N)`` (from, to)."""

    state: np.ndarray
    jacobian: np.ndarray
    delta: np.ndarray
    """From ∂ℓ/∂state to ∂ℓ/∂z, ``(N, gates)``."""


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def elman(w: Weights, x: np.ndarray, h: np.ndarray, phi: str) -> Step:
    """h' = φ(h U + x V + b)."""
    z = h @ w.U + x @ w.V + w.b
    new = np.tanh(z) if phi == "tanh" else sigmoid(z)
    slope = 1 - new**2 if phi == "tanh" else new * (1 - new)
    return Step(new, w.U * slope, np.diag(slope))


def lstm(w: Weights, x: np.ndarray, state: np.ndarray) -> Step:
    """Gates i, f, g, o; state (h, c): c' = f c + i g, h' = o tanh c'."""
    n = len(state) // 2
    h, c = state[:n], state[n:]
    zi, zf, zg, zo = np.split(h @ w.U + x @ w.V + w.b, 4)
    i, f, g, o = sigmoid(zi), sigmoid(zf), np.tanh(zg), sigmoid(zo)
    new = f * c + i * g
    top = np.tanh(new)
    # ∂c'/∂z of each gate, then of h' through c', and through o
    to_c = np.concatenate([g * i * (1 - i), c * f * (1 - f), i * (1 - g**2), 0 * o])
    to_h = np.tile(o * (1 - top**2), 4) * to_c
    to_h[3 * n :] = top * o * (1 - o)
    eye = np.tile(np.eye(n), (4, 1))
    gates = np.concatenate([eye * to_h[:, None], eye * to_c[:, None]], axis=1)
    direct = np.concatenate([np.diag(f * o * (1 - top**2)), np.diag(f)], axis=1)
    return Step(
        np.concatenate([o * top, new]),
        np.concatenate([w.U @ gates, direct]),
        gates.T,
    )


class Walk(NamedTuple):
    """A sentence: steps and the adjoint of the margin at its end, by lag."""

    steps: list[Step]
    adjoints: np.ndarray


def walk(w: Weights, kind: str, tokens: np.ndarray, target: int) -> Walk:
    """Forward, then back from the log odds of the target; its scale cancels."""
    n = w.U.shape[0]
    state, steps = np.zeros(2 * n if kind == "lstm" else n), []
    for token in tokens:
        step = lstm(w, w.E[token], state) if kind == "lstm" else None
        steps.append(step or elman(w, w.E[token], state, kind))
        state = steps[-1].state
    adjoint = np.zeros_like(state)
    adjoint[:n] = w.W[:, target] - w.W[:, 1 - target]
    found = [adjoint]
    for step in reversed(steps[1:]):
        found.append(step.jacobian @ found[-1])
    return Walk(steps, np.array(found))


def left(walks: list[Walk], scaled: bool = False) -> np.ndarray:
    """Mean over sentences of log10 of the adjoint over its largest at lags 0 to 5."""
    adjoints = np.array([one.adjoints for one in walks])
    norms = np.linalg.norm(adjoints, axis=-1)
    if scaled:
        states = np.array([[s.state for s in one.steps] for one in walks])[:, ::-1]
        apart = states - states.mean(axis=0)
        along = np.einsum("bln,cln->blc", adjoints, apart)
        norms = np.sqrt(np.sum(along**2, axis=-1) / (len(walks) - 1))
    ratio = norms / norms[:, :NEAR].max(axis=1, keepdims=True)
    return np.log10(ratio).mean(axis=0)


def stationary_exponent(w: Weights, tokens: np.ndarray) -> float:
    """λ₁ of an LSTM on words drawn at random, one tangent vector, long walk."""
    random = np.random.default_rng(1)
    state, total = np.zeros(2 * w.U.shape[0]), 0.0
    tangent = random.standard_normal(state.size)
    for step in range(DROPPED + 10 * STATIONARY):
        found = lstm(w, w.E[random.choice(tokens)], state)
        state, tangent = found.state, tangent @ found.jacobian
        size = np.linalg.norm(tangent)
        tangent /= size
        total += np.log(size) * (step >= DROPPED)
    return total / (10 * STATIONARY)


def sentences(config: RunConfig, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens ``(B, T)`` and targets of the probed batch."""
    batch = heldout(config.task, config.task_options, "validation", count)
    return np.asarray(batch.inputs).T, np.asarray(batch.targets)


def walks_of(config: RunConfig, params: dict, kind: str) -> list[Walk]:
    w, (tokens, targets) = Weights.of(params), sentences(config, config.probe.batch)
    pairs = zip(tokens, targets, strict=True)
    return [walk(w, kind, row, int(target)) for row, target in pairs]


class Row(NamedTuple):
    quantity: str
    before: str
    now: str
    recomputed: str


def said(data, part: str) -> str:
    """What the table of `rnnjax probe` says."""
    return next(row.value for row in summary(data) if part in row.quantity)


def untrained() -> list[Row]:
    """The LSTM and the sigmoid network of sentences of 16 words, as they start."""
    config = compose("variant=lstm", "task.distance=16").config
    params = initial_params(config)
    data, w = analyze_run(config, params), Weights.of(params)
    walks = walks_of(config, params, "lstm")
    curve, lags = left(walks), len(walks[0].steps) - 1
    start = int(np.argmax(curve[:NEAR]))
    products = []
    for one in walks[: data.sizes["sentence"]]:
        product = np.eye(w.U.shape[0] * 2)
        for step in one.steps:
            product = product @ step.jacobian
        products.append(product)
    T, N = lags + 1, products[0].shape[0]
    worst = [np.log(np.linalg.norm(p, 2)) / T for p in products]
    typical = [np.log(np.linalg.norm(p) / np.sqrt(N)) / T for p in products]
    rates = []
    for one in walks:
        norms = np.log(np.linalg.norm(one.adjoints, axis=-1))
        top = int(np.argmax(norms[:NEAR]))
        rates.append((norms[-1] - norms[top]) / (lags - top))
    tokens = sentences(config, config.probe.batch)[0]
    first = walks[0]
    parts = [
        np.outer(w.E[token], step.delta.T @ adjoint)
        for token, step, adjoint in zip(
            tokens[0], first.steps, first.adjoints[::-1], strict=True
        )
    ]
    whole = sum(parts)
    share = np.sum(parts[0] * whole) / np.sum(whole**2)
    sigmoid_config = compose("variant=elman_sigmoid", "task.distance=16").config
    sigmoid_params = initial_params(sigmoid_config)
    sigmoid_data = analyze_run(sigmoid_config, sigmoid_params, ("adjoints",))
    sigmoid_left = left(walks_of(sigmoid_config, sigmoid_params, "sigmoid"))
    reached = start + int(np.argmax(sigmoid_left[start:] < -3))
    steps = np.diff(curve)[5:]
    both = np.stack([np.ones(len(steps)), np.log10(1 + 1 / np.arange(5, lags))], axis=1)
    fit = np.linalg.lstsq(both, steps, rcond=None)[0]
    scaled = float(data["log10_ratio_scaled"].isel(layer=0, lag=-1))
    number = lambda values: f"{np.median(values):.3f}"
    return [
        Row(
            "λ₁, LSTM",
            "leading Lyapunov exponent −0.112 ± 0.025, from one sentence of 16 words",
            said(data, "λ₁ on stationary") + ", on stationary input",
            f"{stationary_exponent(w, tokens.ravel()):.4f} over 20 000 steps",
        ),
        Row(
            "worst case, LSTM",
            "–",
            said(data, "worst case"),
            f"{number(worst)}, by a dense product and its SVD",
        ),
        Row("typical, LSTM", "–", said(data, "typical"), number(typical)),
        Row(
            "adjoint rate, LSTM",
            "–",
            said(data, "adjoint rate"),
            f"{np.mean(rates):.3f}",
        ),
        Row(
            "decay, LSTM",
            "−0.035 [−0.047, −0.027], a range over examples that reads as an interval",
            f"law {said(data, 'law of')}; log₁₀ {said(data, 'at lag 15')} left",
            f"a = {fit[0]:.3f}, b = {fit[1]:.2f} of 10 steps; log₁₀ "
            f"{curve[-1]:.2f} left",
        ),
        Row(
            "left at the first word in units of the state, LSTM",
            "largest gradient: Elman tanh, by the norm of a state that cells scale "
            "differently",
            f"log₁₀ {scaled:.2f}",
            f"log₁₀ {left(walks, scaled=True)[-1]:.2f}",
        ),
        Row(
            "memory horizon, sigmoid network",
            "9 steps, counted from lag 5",
            f"{said(sigmoid_data, 'memory horizon')} steps, from the loss",
            f"{reached} steps",
        ),
        Row(
            "share of the first word of sentence 1",
            "share in the update of the embedding, in which each word has its own row",
            f"{float(data['word_share'].isel(sentence=0, time=0)):.3f} of one "
            "sentence's update of V",
            f"{share:.3f}",
        ),
    ]


def trained(pool: Path) -> Row:
    """What training does to the first word's gradient, over ten networks."""
    parts = []
    for variant, kind in (("elman_tanh", "tanh"), ("lstm", "lstm")):
        seeds = ",".join(map(str, range(SEEDS)))
        overrides = [f"variant={variant}", "task.distance=16", f"seed={seeds}"]
        change = []
        for one in at_stages(pool, (0, UPDATES), overrides):
            both = stages(one, (0, UPDATES))
            ends = [walks_of(one.config, params, kind) for params in both]
            change.append(
                [
                    left(ends[1], scaled)[-1] - left(ends[0], scaled)[-1]
                    for scaled in (False, True)
                ]
            )
        table = np.array(change)
        raised, middle = (table > 0).sum(axis=0), np.median(table, axis=0)
        parts.append(
            f"{kind} {raised[0]} of {SEEDS}, {middle[0]:.1f} (in units of the state "
            f"{raised[1]} of {SEEDS}, {middle[1]:.1f})"
        )
    study = read_study(pool)
    return Row(
        "what training does to the first word's gradient",
        "training raised log₁₀‖λ₁‖ in 0 of 10 runs that solved the task (median −4.2)",
        training_effect(study.flow.decays, study.runs.frame, "distance")[0],
        "; ".join(parts),
    )


def interval() -> Row:
    """An interval of accuracies, of which two are 1."""
    values = np.array([1.0, 1.0, 0.58])
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    ends = range_of("test_accuracy") or (0.0, 1.0)
    return Row(
        "95 % interval of accuracies 1, 1 and .58",
        f"[{low:.2f}, {high:.2f}]",
        f"[{max(low, ends[0]):.2f}, {min(high, ends[1]):.2f}]",
        "Student's t cut at the range of an accuracy",
    )


HEAD = """\
# Headline texts before and after

Made by `python -m scripts.headlines`; not written by hand. The last column is float64
NumPy written from the cells' equations, which shares parameters and sentences with the
tool and none of its probes. Sentences of 16 words, 32 units, untrained unless said.

| quantity | said before | says now | recomputed |
|---|---|---|---|
"""


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/headlines.md"))
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as pool:
        rows = [*untrained(), trained(Path(pool)), interval()]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    text = HEAD + lines.replace(" -", " −")
    out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
