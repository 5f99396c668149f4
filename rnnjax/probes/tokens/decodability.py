"""Forward memory: how well a linear probe reads a word from the state after step t.

The gradient shows how far back training can reach; a linear probe shows what the state
still contains going forward (Alain & Bengio 2017, "Understanding intermediate layers
using linear classifier probes"). The two need not agree: a network may remember a word
that the gradient of its loss does not reach. Computed on the host with NumPy and
scikit-learn, after training.

The result describes a *regularised linear* reader, and the penalty matters: an exact
solver could detect a trace of a word that makes up 10⁻⁶ of a unit's variation; this
reader does not.
"""

import dataclasses
import warnings
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.adjoints.norms import JOINT
from rnnjax.probes.tokens.states import collect_states
from rnnjax.types import Batch, Params


Probe = Literal["logistic", "ridge_classifier", "ridge"]
"""`logistic`: multinomial logistic regression; `ridge_classifier`: least squares on ±1
targets, one solve instead of an iteration; `ridge`: ridge regression on real values."""


@dataclasses.dataclass(frozen=True)
class Decodability:
    """How well the labels can be read from the states at each step; arrays ``(T,)``.

    NaN at a step with fewer than two classes, fewer than two training or test examples,
    or a state that is not finite in an example that is used.

    Attributes:
        score: score on the test examples: accuracy, or R² of a regression.
        error: standard error of `score` over test examples, for one fit. For an
            accuracy it is √(p̃(1 − p̃)/(n + 4)) with p̃ = (k + 2)/(n + 4) (Agresti &
            Coull 1998), which is not 0 even if all n are correct; for R² it comes from
            the delta method.
        chance: score of the best constant: the fraction of test examples in the class
            that is most frequent in training; 0 for R².
        control: score of the same probe on permuted labels. It is at chance unless the
            probe memorises. (The control task of Hewitt & Liang 2019 assigns one random
            label to each word type; here labels are permuted between examples.)
        examples: number of test examples.
        metric: `accuracy` or `r2`.
        probe: the probe that was used.
    """

    score: Float[np.ndarray, "T"]
    error: Float[np.ndarray, "T"]
    chance: Float[np.ndarray, "T"]
    control: Float[np.ndarray, "T"]
    examples: np.ndarray
    metric: Literal["accuracy", "r2"]
    probe: Probe


def decodability(
    states: Float[np.ndarray, "T N K"],
    labels: np.ndarray,
    *,
    valid: Bool[np.ndarray, "T N"] | None = None,
    probe: Probe = "logistic",
    penalty: float = 1.0,
    test_share: float = 0.3,
    seed: int = 0,
) -> Decodability:
    """Fit one probe for each time step and test it on other examples.

    Args:
        states: K real numbers for each step and example.
        labels: ``(N,)``: classes (any values), or real numbers for `ridge`.
        valid: examples that are used at each step; None: all.
        probe: see `Probe`. States are standardised with the mean and standard deviation
            of the training examples; a unit that does not vary is left out.
        penalty: α in ``fit + ½ α ‖w‖²`` (`logistic`, fit: summed cross-entropy in nats)
            or in ``fit + α ‖w‖²`` (ridge, fit: summed squares); intercepts are not
            penalised.
        test_share: fraction of the examples kept for the test, the same ones at all
            steps.
        seed: seed of the split and of the permutation.

    Costs 2T fits: O(N K²) each for ridge, and a few hundred passes of O(N K · classes)
    for `logistic`.

    Raises:
        ValueError: shapes that do not match, or a `test_share` outside (0, 1).
    """
    steps, count = states.shape[:2]
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(
            f"{count} examples need labels of shape ({count},), not {labels.shape}"
        )
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be between 0 and 1, got {test_share}")
    if probe != "ridge":
        labels = np.unique(labels, return_inverse=True)[1]
    random = np.random.default_rng(seed)
    testing = np.zeros(count, bool)
    testing[random.permutation(count)[: round(test_share * count)]] = True
    shuffled = labels[random.permutation(count)]
    rows = []
    for t in range(steps):
        here = np.ones(count, bool) if valid is None else np.asarray(valid[t])
        split = (here & ~testing, here & testing)
        score, error, chance = _fit(states[t], labels, split, probe, penalty)
        control, *_ = _fit(states[t], shuffled, split, probe, penalty)
        rows.append((score, error, chance, control, split[1].sum()))
    score, error, chance, control, examples = np.array(rows, float).T
    metric = "r2" if probe == "ridge" else "accuracy"
    found = (score, error, chance, control, examples.astype(int))
    return Decodability(*found, metric=metric, probe=probe)


def word_decodability(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    *,
    step: int = 0,
    labels: np.ndarray | None = None,
    layer: int = 0,
    backwards: bool = False,
    array: str = JOINT,
    probe: Probe | None = None,
    **options: Any,
) -> Decodability:
    """How well the input of one step can be read from the state after each step.

    The states of a forward direction before that step cannot contain it, which serves
    as an additional control. Padding is not used.

    Args:
        model, params, batch, layer, backwards, array: as in `collect_states`. With a
            few hundred examples the accuracy has an error of several per cent; use
            thousands.
        step: u, the step whose input is to be read.
        labels: ``(N,)``, such as the class of an informative word; None: the token at
            step u, or the first entry of the input vector there.
        probe: None: `logistic` for integer labels, else `ridge`.
        options: penalty, test_share and seed of `decodability`.
    """
    lengths = np.asarray(batch.lengths)
    # an example that ends before step u has no word there
    asked = lengths > step
    if labels is None:
        known = np.asarray(batch.inputs)[step]
        labels = np.array(known if known.ndim == 1 else known[:, 0])
        # nor is its padding a label, since the control permutes all labels
        labels[~asked] = labels[np.argmax(asked)]
    if probe is None:
        whole = np.issubdtype(np.asarray(labels).dtype, np.integer)
        probe = "logistic" if whole else "ridge"
    states = collect_states(
        model, params, batch, layer=layer, backwards=backwards, array=array
    )
    valid = np.arange(states.shape[0])[:, None] < lengths[None, :]
    valid &= asked[None, :]
    return decodability(states, np.asarray(labels), valid=valid, probe=probe, **options)


def _fit(
    states: np.ndarray,
    labels: np.ndarray,
    split: tuple[np.ndarray, np.ndarray],
    probe: Probe,
    penalty: float,
) -> tuple[float, float, float]:
    """Score, its standard error and the score of a constant, on the test examples."""
    train, test = split
    classes = probe != "ridge"
    if min(train.sum(), test.sum()) < 2 or (
        classes and len(np.unique(labels[train])) < 2
    ):
        return np.nan, np.nan, np.nan
    x = np.asarray(states, np.float64)
    if not np.all(np.isfinite(x[train | test])):
        return np.nan, np.nan, np.nan
    mean, spread = x[train].mean(0), x[train].std(0)
    varies = spread > 1e-12 * np.abs(mean)
    x = (x[:, varies] - mean[varies]) / spread[varies]
    if not varies.any():
        x = np.zeros((len(labels), 1))
    predicted = _predict(x[train], labels[train], x[test], probe, penalty)
    truth = labels[test]
    if classes:
        return _accuracy(predicted == truth, labels[train], truth)
    return _r2(predicted, truth)


def _predict(
    x: np.ndarray, y: np.ndarray, asked: np.ndarray, probe: Probe, penalty: float
) -> np.ndarray:
    # scikit-learn takes a second to import
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier

    models: dict[str, Any] = {
        "logistic": LogisticRegression(C=1 / penalty, max_iter=1000),
        "ridge_classifier": RidgeClassifier(alpha=penalty),
        "ridge": Ridge(alpha=penalty),
    }
    with warnings.catch_warnings():
        # a probe that has not converged must not be mistaken for a state that forgot
        warnings.simplefilter("error", ConvergenceWarning)
        return models[probe].fit(x, y).predict(asked)


def _accuracy(
    hits: np.ndarray, seen: np.ndarray, truth: np.ndarray
) -> tuple[float, float, float]:
    count = len(hits)
    rate = (hits.sum() + 2) / (count + 4)
    error = np.sqrt(rate * (1 - rate) / (count + 4))
    chance = np.mean(truth == np.bincount(seen).argmax())
    return float(hits.mean()), float(error), float(chance)


def _r2(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)², a ratio of means over the test examples."""
    left, whole = (truth - predicted) ** 2, (truth - truth.mean()) ** 2
    if whole.sum() == 0:
        return np.nan, np.nan, np.nan
    ratio = left.mean() / whole.mean()
    error = np.std(left - ratio * whole) / (np.sqrt(len(truth)) * whole.mean())
    return float(1 - ratio), float(error), 0.0
