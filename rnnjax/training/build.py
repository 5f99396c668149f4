"""Build a run's signature, numbers and initial parameters from its configuration."""

import dataclasses
from functools import cache, lru_cache, partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.choice import Choice
from rnnjax.errors import UserError
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.initializers import make_initializer
from rnnjax.models.sequence import SequenceModel
from rnnjax.recurrence.fields import numeric_fields, static_cell
from rnnjax.tasks import TASKS
from rnnjax.tasks.base import Data, Split, Task, TaskSpec
from rnnjax.training.config import FEWEST, Options, RunConfig
from rnnjax.training.hyper import Hyper
from rnnjax.training.keys import PARAMS, key_of_seed
from rnnjax.training.program import Signature
from rnnjax.training.schedules import rate_of
from rnnjax.types import Batch


def build_task(name: str, options: Options) -> tuple[Task, Data]:
    """The task and its data, which are read once for equal options."""
    return _load_task(TASKS[name], options)


@cache
def _load_task(kind: type[Task], options: Options) -> tuple[Task, Data]:
    task = kind(**dict(options))
    return task, task.load()


def heldout(name: str, options: Options, split: Split, size: int) -> Batch:
    """A held-out batch of a task, which is made once for equal tasks."""
    return _heldout(TASKS[name], options, split, size)


@lru_cache(maxsize=256)
def _heldout(kind: type[Task], options: Options, split: Split, size: int) -> Batch:
    task, data = _load_task(kind, options)
    batch, spec = _drawn(task, split, size, dict(data)), task.spec(data)
    if not spec.ragged and (np.asarray(batch.lengths) < spec.length).any():
        raise UserError(
            f"task {task.name} has examples of fewer than {spec.length} steps, but its "
            "spec says ragged=False"
        )
    return batch


@partial(jit_unoptimised, static_argnames=("task", "split", "size"))
def _drawn(task: Task, split: Split, size: int, data: Data) -> Batch:
    return task.heldout(split, size, data)


def compared(config: RunConfig, examples: int) -> Batch:
    """The held-out examples that are compared with each other for `probe.signal`.

    Raises:
        UserError: the task has too few.
    """
    batch = heldout(config.task, config.task_options, "validation", examples)
    if (known := batch.lengths.shape[0]) < FEWEST:
        raise UserError(
            f"the signal is measured by comparing at least {FEWEST} held-out examples "
            f"with each other; task={config.task} has {known}"
        )
    return batch


def forget_data() -> None:
    """Clear the caches, so that the data of all tasks are read again when needed."""
    _load_task.cache_clear()
    _heldout.cache_clear()


def build_cell(config: RunConfig) -> Cell:
    """The cell of a run, with its initialisers; the model sets the input size.

    Its precision is JAX's default: float64 with ``JAX_ENABLE_X64``, else float32.
    """
    kind = CELLS[config.cell]
    chosen = dict(config.cell_options)
    fields = kind.__dataclass_fields__
    if config.activation is not None:
        if "activation" not in fields:
            raise UserError(f"the activation of cell {config.cell} cannot be changed")
        chosen["activation"] = config.activation
    if config.init.name is not None:
        if "recurrent_init" not in fields:
            raise UserError(
                f"the recurrent initialiser of cell {config.cell} cannot be changed"
            )
        chosen["recurrent_init"] = make_initializer(
            config.init.name, **dict(config.init.options)
        )
    features, dtype = config.model.hidden, jnp.result_type(float)
    return kind(inputs=0, features=features, param_dtype=dtype, **chosen)


def build_model(config: RunConfig, spec: TaskSpec) -> SequenceModel:
    """The model of a run as configured, including initialisers and numbers."""
    sizes = dataclasses.asdict(config.model)
    sizes.pop("hidden")
    return SequenceModel(
        cell=build_cell(config),
        output_size=spec.output_size,
        vocabulary=spec.vocabulary,
        input_size=spec.input_size,
        readout=spec.readout,
        backprop=config.backprop.name,
        lag=config.backprop.lag,
        **sizes,
    )


def signature(config: RunConfig) -> Signature:
    """The signature of a run: everything on which its compiled code depends."""
    task, data = build_task(config.task, config.task_options)
    spec = task.spec(data)
    model = build_model(config, spec)
    return Signature(
        model=model.clone(cell=static_cell(model.cell), lag=None),
        task=task,
        spec=spec,
        optimizer=config.optimizer.static(),
        clipping=config.clipping.name,
        penalty=config.penalty.static(),
        batch=config.batch,
        pairs=config.pairs,
        shards=config.shards,
        ride=config.probe.preset == "light",
        sentences=config.probe.sentences,
    )


def build_hyper(config: RunConfig) -> Hyper:
    """The numbers of a run as scalar arrays, in the precision of `build_cell`."""

    def number(value: float) -> Any:
        return jnp.asarray(value, float)

    def numbers(choice: Choice) -> dict[str, Any]:
        return {
            name: jnp.asarray(value, jnp.int32 if isinstance(value, int) else float)
            for name, value in choice.numbers().items()
        }

    lag = config.backprop.lag
    return Hyper(
        seed=jnp.asarray(config.seed, jnp.uint32),
        lr=number(config.lr),
        rate=rate_of(config.lr_schedule),
        threshold=number(config.clipping.threshold),
        penalty=numbers(config.penalty),
        optimizer=numbers(config.optimizer),
        loss_bound=number(config.loss_bound),
        cell={k: number(v) for k, v in numeric_fields(build_cell(config)).items()},
        lag=None if lag is None else jnp.asarray(lag, jnp.int32),
    )


def draw_params(config: RunConfig, spec: TaskSpec, key: Any) -> Any:
    """Initial parameters; numbers of the cell and its initialiser may be traced."""
    model = build_model(config, spec)
    if spec.vocabulary is None:
        inputs = jnp.zeros((1, 1, spec.input_size), float)
    else:
        inputs = jnp.zeros((1, 1), jnp.int32)
    return model.init(key, inputs)["params"]


def initial_params(config: RunConfig, spec: TaskSpec | None = None) -> Any:
    """Parameters before the first update, a function of the configuration and seed.

    Args:
        config: configuration of the run.
        spec: specification of its task; None: it is made from the task's data.
    """
    if spec is None:
        task, data = build_task(config.task, config.task_options)
        spec = task.spec(data)
    architecture = RunConfig(
        cell=config.cell,
        task="",
        cell_options=config.cell_options,
        activation=config.activation,
        init=config.init,
        model=config.model,
    )
    spec = dataclasses.replace(spec, length=1, baseline_loss=0.0)
    return _drawn_params(CELLS[config.cell], architecture, spec, np.uint32(config.seed))


@partial(jit_unoptimised, static_argnames=("kind", "config", "spec"))
def _drawn_params(
    kind: type[Cell], config: RunConfig, spec: TaskSpec, seed: ArrayLike
) -> Any:
    del kind  # decides the program, as a user's file may be loaded again
    return draw_params(config, spec, key_of_seed(seed, PARAMS, 0))
