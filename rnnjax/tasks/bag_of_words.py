"""What word counts alone say: the classic that a recurrent network has to face."""

import dataclasses

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from rnnjax.tasks.reviews import FIRST_WORD, Reviews
from rnnjax.tasks.vocabulary import UNKNOWN


@dataclasses.dataclass(frozen=True)
class BagOfWords:
    """Accuracy of the logistic regression on held-out sentences."""

    validation: float
    test: float


def bag_of_words_accuracy(task: Reviews) -> BagOfWords:
    """Logistic regression on word counts, same sentences, split and vocabulary.

    L2 penalty at scikit-learn's default strength (C = 1), fitted on the training split.
    Padding and the neutral words of `pad` are left out, so `pad` changes nothing.
    """
    data = task.load()
    tokens = np.asarray(data["tokens"])
    row, step = np.nonzero((tokens == UNKNOWN) | (tokens >= FIRST_WORD))
    counts = csr_matrix(
        (np.ones(len(row)), (row, tokens[row, step])),
        shape=(len(tokens), task.max_vocabulary),
    )
    labels, train = data["labels"], data["train"]
    model = LogisticRegression(max_iter=1000).fit(counts[train], labels[train])
    return BagOfWords(
        validation=float(
            model.score(counts[data["validation"]], labels[data["validation"]])
        ),
        test=float(model.score(counts[data["test"]], labels[data["test"]])),
    )
