"""Tasks: data with a known dependency length, each with a memoryless baseline."""

from rnnjax.registry import import_modules
from rnnjax.tasks.adding import Adding
from rnnjax.tasks.arrays import Arrays
from rnnjax.tasks.bag_of_words import BagOfWords, bag_of_words_accuracy
from rnnjax.tasks.base import TASKS, Data, Split, Task, TaskSpec, register_task
from rnnjax.tasks.copying import Copy
from rnnjax.tasks.digits import Digits
from rnnjax.tasks.length_classes import LengthBuckets, length_buckets
from rnnjax.tasks.mnist import Mnist
from rnnjax.tasks.opinion import Opinion
from rnnjax.tasks.reviews import Reviews
from rnnjax.tasks.temporal_order import TemporalOrder
from rnnjax.tasks.text import Text


import_modules(__name__, __path__)


__all__ = [
    "TASKS",
    "Adding",
    "Arrays",
    "BagOfWords",
    "Copy",
    "Data",
    "Digits",
    "LengthBuckets",
    "Mnist",
    "Opinion",
    "Reviews",
    "Split",
    "Task",
    "TaskSpec",
    "TemporalOrder",
    "Text",
    "bag_of_words_accuracy",
    "length_buckets",
    "register_task",
]
