"""Hold the headline estimators to networks whose answers are known; write a table.

    python -m scripts.estimators [--repeats R] [--out docs/estimators.md]

Each network is a family of products of Jacobians with a known leading Lyapunov exponent
λ₁, memory horizon and law of decay. Of every network some seeds are drawn, of every
seed some examples, and what the report prints is taken from them by the very functions
that the report calls. NumPy, float64; about two minutes.
"""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import digamma

from rnnjax.probes.adjoints.decay import (
    Decay,
    Interval,
    decay,
    law_over_seeds,
    over_seeds,
)
from rnnjax.probes.adjoints.relative import adjoint_rate, mean_log, relative
from rnnjax.probes.dynamics.propagator import propagator_spectrum


SIZE, SEEDS, EXAMPLES = 16, 5, 16
LENGTHS = 16, 50, 200
DECADES = np.log(10.0)


@dataclasses.dataclass(frozen=True)
class Network:
    """A family of networks.

    Attributes:
        name: of the table.
        jacobians: of one example, anew on each call; the first argument is the
            generator of the seed, whose weights `weights` has drawn.
        weights: what a seed draws once.
        exponent: λ₁ in nats per step, of a seed's weights.
        law: of its decay.
    """

    name: str
    weights: Callable[[np.random.Generator], np.ndarray]
    jacobians: Callable[[np.random.Generator, np.ndarray, int], np.ndarray]
    exponent: Callable[[np.ndarray], float]
    law: str


def _turn(random: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(random.standard_normal((SIZE, SIZE)))[0]


def _constant(
    random: np.random.Generator, weights: np.ndarray, length: int
) -> np.ndarray:
    return np.broadcast_to(weights, (length, SIZE, SIZE))


def _scaled(spread: float) -> Callable[..., np.ndarray]:
    """The weights times a log-normal factor of each step: a random walk of logs."""

    def draw(
        random: np.random.Generator, weights: np.ndarray, length: int
    ) -> np.ndarray:
        factor = 10.0 ** (spread * random.standard_normal(length))
        return factor[:, None, None] * weights

    return draw


def _gaussian(
    random: np.random.Generator, weights: np.ndarray, length: int
) -> np.ndarray:
    return random.standard_normal((length, SIZE, SIZE)) / np.sqrt(SIZE)


def _gates(gain: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Forget gates e^(−s) with rates s spread evenly from 0: ‖λ_l‖ falls as l^(−1/2).

    ‖λ_l‖² = Σ e^(−2 s l) / N, with s at the middles of N cells between 0 and 2; for
    l up to N/4 the cells are fine enough that this is (1 − e^(−4l)) / 4l.
    """

    def draw(random: np.random.Generator) -> np.ndarray:
        rates = 2 * (np.arange(FINE) + 0.5) / FINE
        return gain * np.exp(-rates)

    return draw


FINE = 1024
"""Units of the gated network, enough for a power law over 200 lags."""


def _exponent_of_gaussian(_: np.ndarray) -> float:
    """½ (ψ(N/2) + ln(2/N)): Newman (1986), for entries of variance 1/N."""
    return 0.5 * float(digamma(SIZE / 2) + np.log(2 / SIZE))


NETWORKS = (
    Network(
        "orthogonal, gain 1",
        _turn,
        _constant,
        lambda w: 0.0,
        "none",
    ),
    Network(
        "orthogonal, gain .9",
        lambda random: 0.9 * _turn(random),
        _constant,
        lambda w: np.log(0.9),
        "exponential",
    ),
    Network(
        "orthogonal, gain .9, factors of .15 decades",
        lambda random: 0.9 * _turn(random),
        _scaled(0.15),
        lambda w: np.log(0.9),
        "exponential",
    ),
    Network(
        "Gaussian, new at each step",
        _turn,
        _gaussian,
        _exponent_of_gaussian,
        "exponential",
    ),
)


def curves_of(
    network: Network, random: np.random.Generator, length: int
) -> tuple[np.ndarray, list[np.ndarray], float]:
    """log10‖λ‖ by lag ``(T + 1, B)``, the Jacobians of two examples, and λ₁."""
    weights = network.weights(random)
    norms, kept = np.zeros((length + 1, EXAMPLES)), []
    for example in range(EXAMPLES):
        stack = network.jacobians(random, weights, length)
        adjoint = random.standard_normal(SIZE)
        adjoint /= np.linalg.norm(adjoint)
        for lag in range(1, length + 1):
            adjoint = adjoint @ stack[length - lag]
            size = np.linalg.norm(adjoint)
            norms[lag, example] = norms[lag - 1, example] + np.log10(size)
            adjoint /= size
        if example < 2:
            kept.append(stack)
    return norms, kept, network.exponent(weights)


def gated(
    gain: float, noise: float, random: np.random.Generator, length: int
) -> np.ndarray:
    """log10‖λ‖ by lag of a gated network, a power law where the gain is 1."""
    gates = _gates(gain)(random)
    lags = np.arange(length + 1)[:, None]
    smooth = 0.5 * np.log10(np.mean(gates[None] ** (2 * lags), axis=1))
    steps = noise * random.standard_normal((length, EXAMPLES))
    walk = np.concatenate([np.zeros((1, EXAMPLES)), np.cumsum(steps, axis=0)])
    return smooth[:, None] + walk


def _fits(norms: list[np.ndarray]) -> list[Decay]:
    return [decay(mean_log(relative(table))) for table in norms]


def _law(fits: list[Decay]) -> tuple[str, Interval]:
    rates, powers = (
        np.array([getattr(fit, name).mean for fit in fits])
        for name in ("rate", "power")
    )
    return law_over_seeds(rates, powers, fits[0].span), over_seeds(rates)


def products(network: Network, length: int, repeats: int, seed: int) -> str:
    """A row of the table of products."""
    random = np.random.default_rng(seed)
    off: dict[str, list[float]] = {"adjoint": [], "worst": [], "typical": []}
    laws, covered = Counter[str](), 0
    for _ in range(repeats):
        norms, exponent = [], 0.0
        for _ in range(SEEDS):
            table, stacks, exponent = curves_of(network, random, length)
            norms.append(table)
            off["adjoint"].append(adjoint_rate(relative(table)) - exponent)
            for stack in stacks:
                found = propagator_spectrum(stack)
                top = found.log_singular_values[0] / length
                off["worst"].append(top - exponent)
                off["typical"].append(found.log_typical_gain / length - exponent)
        law, rate = _law(_fits(norms))
        laws[law] += 1
        exact = abs(rate.mean - exponent / DECADES) < 1e-9  # no scatter at all
        covered += exact or rate.holds(exponent / DECADES)
    bias = " | ".join(f"{np.mean(values):+.3f}" for values in off.values())
    return (
        f"| {network.name} | {length} | {bias} | {_shares(laws, network.law, repeats)} "
        f"| {covered / repeats:.2f} |"
    )


def powers(gain: float, length: int, repeats: int, seed: int) -> str:
    """A row of the table of gated networks, whose curve is known to the digit."""
    random = np.random.default_rng(seed)
    truth = "power law" if gain == 1 else "mixture"
    laws, reached = Counter[str](), []
    exact = decay(mean_log(relative(gated(gain, 0.0, random, length))))
    for _ in range(repeats):
        fits = _fits([gated(gain, 0.05, random, length) for _ in range(SEEDS)])
        laws[_law(fits)[0]] += 1
        reached.append(np.quantile([x.horizon for x in fits], 0.5, method="lower"))
    name = "gates e^(−s), s even on [0, 2]" + ("" if gain == 1 else f", times {gain}")
    true, found = (_reach(x, length) for x in (exact.horizon, np.array(reached)))
    return f"| {name} | {length} | {_shares(laws, truth, repeats)} | {true} | {found} |"


def _reach(horizons: float | np.ndarray, length: int) -> str:
    """A horizon, or the quartiles of several."""
    low, high = np.quantile(np.atleast_1d(horizons), [0.25, 0.75], method="lower")
    ends = ["> " + str(length) if np.isinf(x) else f"{x:.0f}" for x in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _shares(laws: Counter[str], truth: str, repeats: int) -> str:
    wrong = repeats - laws[truth] - laws["undecided"]
    parts = laws[truth], laws["undecided"], wrong
    return f"{truth} | " + " | ".join(f"{part / repeats:.2f}" for part in parts)


HEAD = f"""# The estimators against networks whose answers are known

Made by `python -m scripts.estimators`; not written by hand. Each row: {SEEDS} seeds of
{EXAMPLES} examples, drawn again and again; N = {SIZE}. The three rates are shown by how
far they lie from λ₁ on so many steps, in nats per step, mean over networks. *Worst
case* and *typical* are exact for the example and do not claim to be λ₁. None of these
networks has a transient: the adjoint rate of a real one holds its first lags, too (an
LSTM's is −0.17 over 16 words where λ₁ is −0.04, see `headlines.md`).

"""


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("docs/estimators.md"))
    given = parser.parse_args()
    lines = [
        "| network | T | adjoint rate − λ₁ | worst case − λ₁ | typical − λ₁ | true law "
        "| said right | undecided | wrong | interval of a holds λ₁ |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            products(network, length, given.repeats, 100 * i + length)
            for i, network in enumerate(NETWORKS)
            for length in LENGTHS
        ),
        "",
        "Gated networks, steps of .05 decades of noise. Horizon found: median over the "
        "seeds, quartiles over repetitions.",
        "",
        "| network | T | true law | said right | undecided | wrong | true horizon "
        "| horizon found |",
        "|---|---|---|---|---|---|---|---|",
        *(
            powers(gain, length, given.repeats, length)
            for gain in (1, 0.97)
            for length in LENGTHS
        ),
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
