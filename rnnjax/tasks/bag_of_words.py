"""What word counts alone say: the classic that a recurrent network has to face."""

import dataclasses

import numpy as np

from rnnjax.tasks.base import Data
from rnnjax.tasks.vocabulary import UNKNOWN


@dataclasses.dataclass(frozen=True)
class BagOfWords:
    """Accuracy of the logistic regression on held-out sentences."""

    validation: float
    test: float


def bag_of_words_accuracy(data: Data, vocabulary: int, first_word: int) -> BagOfWords:
    """Logistic regression on word counts, same sentences, split and vocabulary.

    L2 penalty at scikit-learn's default strength (C = 1), fitted on the training split.

    Args:
        data: ``tokens``, ``labels`` and the rows of the splits, as a task loads them.
        vocabulary: its size.
        first_word: smaller tokens are padding or neutral words, which are left out; the
            unknown word counts.
    """
    # a second of imports, for a baseline that few ask for
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
