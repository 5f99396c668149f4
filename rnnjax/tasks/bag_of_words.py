"""The classical baseline that a recurrent network must beat: word counts only."""

import dataclasses

import numpy as np

from rnnjax.tasks.base import Data
from rnnjax.tasks.vocabulary import UNKNOWN


@dataclasses.dataclass(frozen=True)
class BagOfWords:
    """Accuracy of logistic regression on held-out sentences."""

    validation: float
    test: float


def bag_of_words_accuracy(data: Data, vocabulary: int, first_word: int) -> BagOfWords:
    """Logistic regression on word counts, with the task's sentences, split, vocabulary.

    It has an L2 penalty of scikit-learn's default strength (C = 1) and is fitted on the
    training split.

    Args:
        data: ``tokens``, ``labels`` and the rows of the splits, as a task loads them.
        vocabulary: size of the vocabulary.
        first_word: smaller tokens are padding or neutral words and are left out, except
            that the unknown word is counted.
    """
    # imported here because it takes a second and is rarely needed
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    tokens = np.asarray(data["tokens"])
    row, step = np.nonzero((tokens == UNKNOWN) | (tokens >= first_word))
    counts = csr_matrix(
        (np.ones(len(row)), (row, tokens[row, step])),
        shape=(len(tokens), vocabulary),
    )
    labels, train = data["labels"], data["train"]
    model = LogisticRegression(max_iter=1000).fit(counts[train], labels[train])
    return BagOfWords(
        validation=float(
            model.score(counts[data["validation"]], labels[data["validation"]])
        ),
        test=float(model.score(counts[data["test"]], labels[data["test"]])),
    )
