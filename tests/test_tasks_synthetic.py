"""Generated tasks: the informative steps decide, and nothing else tells."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array, PRNGKeyArray
from scipy.stats import chi2_contingency

from rnnjax.tasks import Adding, Copy, Opinion, Task, TemporalOrder
from rnnjax.tasks.base import compiled_sample
from rnnjax.tasks.grammar import CHOICES, FIRST, FIRST_VERDICT, WORDS, sentence_parts
from rnnjax.tasks.temporal_order import LETTERS
from rnnjax.types import Batch


MANY = 2048
seeds = st.integers(0, 2**31 - 1)


def draw(task: Task, key: PRNGKeyArray) -> Batch:
    """`MANY` examples as numpy arrays; one size, so that each task compiles once."""
    return jax.tree.map(np.asarray, compiled_sample(task, key, MANY, {}))


def decided(batch: Batch) -> Array:
    """Inputs of the informative steps in order of time, ``(steps, B, …)``."""
    marked = batch.informative
    order = np.argsort(~marked, axis=0, kind="stable")[: marked[:, 0].sum()]
    return batch.inputs[order, np.arange(marked.shape[1])]


@given(st.integers(2, 60), st.integers(0, 40))
def test_sentences_have_their_deciding_word_in_place(
    distance: int, before: int
) -> None:
    parts = sentence_parts(distance, distance + before)
    assert len(parts) == distance + before
    assert [i for i, part in enumerate(parts) if part == "negative"] == [before]
    assert "positive" not in parts
    assert parts[before + 1] == "noun"
    assert before == 0 or parts[before - 1] == "determiner"
    assert distance < 4 or parts[-1] == "time"
    for here, after in zip(parts, parts[1:], strict=False):
        if here in ("determiner", "adjective", "negative"):
            assert after in ("adjective", "noun", "negative")


def test_grammar_has_distinct_words_and_equal_choices() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert FIRST_VERDICT == 1 + CHOICES * len(FIRST)
    assert FIRST["positive"] == FIRST["negative"] + CHOICES


SENTIMENT = Opinion(distance=6, length=9)
NEXT_WORD = Opinion(distance=6, length=9, form="next_word")


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_opinion_follows_from_the_deciding_word(seed: int) -> None:
    batch = draw(SENTIMENT, jax.random.key(seed))
    word = decided(batch)
    assert np.array_equal(word[0], batch.inputs[9 - 6])
    assert np.array_equal(batch.targets, word[0] >= FIRST["positive"])
    assert np.array_equal(word[0] < FIRST["noun"], np.ones(MANY, bool))
    following = draw(NEXT_WORD, jax.random.key(seed))
    assert np.array_equal(following.inputs, batch.inputs)
    assert np.array_equal(following.targets[:-1], batch.inputs[1:])
    assert np.array_equal(following.targets[-1], FIRST_VERDICT + batch.targets)
    assert following.inputs.max() < FIRST_VERDICT


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_sum_follows_from_the_marked_steps(seed: int) -> None:
    batch = draw(Adding(11), jax.random.key(seed))
    marked = decided(batch)
    assert marked.shape == (2, MANY, 2)
    assert np.allclose(batch.targets[:, 0], marked[..., 0].sum(axis=0), atol=1e-6)
    assert np.array_equal(batch.informative, batch.inputs[..., 1] == 1)
    assert np.array_equal(batch.informative[:5].sum(axis=0), np.ones(MANY))
    assert 0 <= batch.inputs.min() and batch.inputs.max() <= 1


@settings(deadline=None, max_examples=20)
@given(seeds, st.sampled_from([TemporalOrder(30), TemporalOrder(30, symbols=3)]))
def test_class_follows_from_the_order(seed: int, task: TemporalOrder) -> None:
    batch = draw(task, jax.random.key(seed))
    bits = decided(batch) - LETTERS.index("X")
    assert np.array_equal(np.unique(bits), [0, 1])
    place_values = 2 ** np.arange(task.symbols)[::-1, None]
    assert np.array_equal(batch.targets, (bits * place_values).sum(axis=0))
    windows = {2: [(3, 6), (15, 18)], 3: [(3, 6), (9, 12), (19, 22)]}[task.symbols]
    for low, high in windows:
        assert np.array_equal(batch.informative[low:high].sum(axis=0), np.ones(MANY))
    assert set(batch.inputs[0]) == {LETTERS.index("E")}
    assert set(batch.inputs[-1]) == {LETTERS.index("B")}
    others = np.unique(batch.inputs[1:-1][~batch.informative[1:-1]])
    assert "".join(task.words(others)) == "abcd"


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_copy_gives_back_the_symbols(seed: int) -> None:
    batch = draw(Copy(delay=7), jax.random.key(seed))
    assert np.array_equal(batch.targets[-10:], decided(batch))
    assert not batch.targets[:-10].any()
    assert np.array_equal(np.unique(decided(batch)), np.arange(1, 9))
    rest = batch.inputs[10:]
    assert np.array_equal(np.flatnonzero(rest[:, 0]), [7 - 1])
    assert (rest[6] == 9).all() and not np.delete(rest, 6, axis=0).any()


def dependence(values: Array, labels: Array) -> float:
    """p-value of the hypothesis that values and labels are independent."""
    table = np.zeros((values.max() + 1, labels.max() + 1))
    np.add.at(table, (values, labels), 1)
    table = table[table.sum(axis=1) > 0]
    if len(table) == 1:
        return 1.0
    return chi2_contingency(table).pvalue  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "task", [SENTIMENT, TemporalOrder(30), TemporalOrder(30, symbols=3)], ids=repr
)
def test_labels_are_balanced_and_fillers_say_nothing(task: Task) -> None:
    batch = draw(task, jax.random.key(7))
    counts = np.bincount(batch.targets)
    expected = MANY / task.spec({}).output_size
    assert np.abs(counts - expected).max() < 4 * np.sqrt(expected)
    p_values = [
        dependence(tokens[~marked], batch.targets[~marked])
        for tokens, marked in zip(batch.inputs, batch.informative, strict=True)
        if not marked.all()
    ]
    assert min(p_values) > 1e-3 / len(p_values)
    told = decided(batch)
    assert all(dependence(word, batch.targets) < 1e-12 for word in told)


def test_unmarked_values_say_nothing_about_the_sum() -> None:
    batch = draw(Adding(11), jax.random.key(7))
    unmarked = np.where(batch.informative, 0.5, batch.inputs[..., 0])
    correlation = [np.corrcoef(row, batch.targets[:, 0])[0, 1] for row in unmarked]
    assert np.abs(correlation).max() < 4 / np.sqrt(MANY)


def cross_entropy(log_shares: np.ndarray, batch: Batch) -> float:
    """Mean over masked steps; ``log_shares`` broadcasts to ``(T, B, classes)``."""
    shape = (*np.shape(batch.targets), log_shares.shape[-1])
    full = np.broadcast_to(log_shares, shape)
    loss = -np.take_along_axis(full, np.asarray(batch.targets)[..., None], -1)[..., 0]
    mask = np.asarray(batch.mask)
    return float((loss * mask).sum() / mask.sum())


def test_memoryless_adding_is_one_sixth() -> None:
    spec = Adding(11).spec({})
    batch = draw(Adding(11), jax.random.key(3))
    errors = [np.mean((batch.targets - guess) ** 2) for guess in (0.9, 1.0, 1.1)]
    assert np.argmin(errors) == 1
    assert errors[1] == pytest.approx(spec.baseline, abs=0.02)
    assert spec.baseline == spec.baseline_loss


def test_memoryless_copy_pays_for_ten_symbols() -> None:
    task = Copy(delay=7)
    batch = draw(task, jax.random.key(3))
    spec = task.spec({})
    shares = np.zeros((27, 1, spec.output_size))
    shares[:17, :, 0] = 1
    shares[17:, :, 1:] = 1 / 8
    with np.errstate(divide="ignore"):
        loss = cross_entropy(np.log(shares), batch)
    assert loss == pytest.approx(spec.baseline_loss, rel=1e-6)
    assert spec.scored == 10
    assert np.mean(batch.targets[-10:] == 3) == pytest.approx(spec.baseline, abs=0.02)


@pytest.mark.parametrize("length", [6, 9])
def test_memoryless_next_word_knows_the_place_alone(length: int) -> None:
    task = Opinion(distance=6, length=length, form="next_word")
    batch = draw(task, jax.random.key(3))
    spec = task.spec({})
    shares = np.zeros((length, 1, spec.output_size))
    for step, part in enumerate(sentence_parts(6, length)[1:]):
        words = 2 * CHOICES if part == "negative" else CHOICES
        shares[step, :, FIRST[part] : FIRST[part] + words] = 1 / words
    shares[-1, :, FIRST_VERDICT:] = 1 / 2
    with np.errstate(divide="ignore"):
        loss = cross_entropy(np.log(shares), batch)
    assert loss == pytest.approx(spec.baseline_loss, rel=1e-6)
    assert spec.scored == 1


def test_words_read_as_english() -> None:
    batch = draw(SENTIMENT, jax.random.key(0))
    words = SENTIMENT.words(batch.inputs[:, 0])
    order = "degree manner determiner negative noun verb degree manner time".split()
    places = [
        WORDS.index(word) - FIRST[part] for word, part in zip(words, order, strict=True)
    ]
    assert all(0 <= place < 2 * CHOICES for place in places)


def test_the_places_of_symbols_say_nothing_about_the_class() -> None:
    """Nor do those of the marked numbers about their values."""
    # an even number of places: of equal bits, place and symbol would be equal modulo 2
    batch = draw(TemporalOrder(length=100), jax.random.key(8))
    places = np.argsort(~batch.informative, axis=0, kind="stable")[:2]
    symbols = np.asarray(decided(batch)) - LETTERS.index("X")
    for place in places:
        for symbol in symbols:
            assert set(symbol.tolist()) == {0, 1}
            for value in np.unique(place):
                here = symbol[place == value]
                assert abs(here.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(here))
    adding = draw(Adding(length=10), jax.random.key(9))
    first = np.argmax(adding.informative, axis=0)
    values = np.asarray(decided(adding))[0, :, 0]
    for value in np.unique(first):
        here = values[first == value]
        assert abs(here.mean() - 0.5) < 5 / np.sqrt(12 * len(here))
