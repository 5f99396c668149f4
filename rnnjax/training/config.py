"""One run, described completely: the frozen record that crosses into the program.

Hydra's `DictConfig` stays in the command line; here everything is typed and final.
Ranges are checked where a record is made, so that no later code has to.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from rnnjax.checks import check_choice, check_range
from rnnjax.errors import UserError
from rnnjax.penalties import NoPenalty, Penalty
from rnnjax.recurrence.backprop import Backprop, check_backprop
from rnnjax.recurrence.engines import ENGINES
from rnnjax.recurrence.remat import Remat, check_remat
from rnnjax.training.optimizers import Adam, Optimizer
from rnnjax.training.schedules import Constant, Schedule


Options = tuple[tuple[str, Any], ...]
"""Keyword arguments as sorted pairs, so that a record can be hashed and compared."""


def options(mapping: Mapping[str, Any]) -> Options:
    """Sorted pairs of a mapping."""
    return tuple(sorted(mapping.items()))


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """Initialiser of the recurrent kernels; name None: the cell's own default."""

    name: str | None = None
    options: Options = ()


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the model around the cell, and how its recurrences are computed.

    `engine` and `remat` are those of `rnnjax.recurrence.layer.Recurrent`.
    """

    hidden: int = 32
    layers: int = 1
    embedding: int = 32
    bidirectional: bool = False
    dropout: float = 0.0
    variational: bool = False
    learn_initial_state: bool = False
    engine: str = "scan"
    remat: Remat | None = None

    def __post_init__(self) -> None:
        for key in ("hidden", "layers", "embedding"):
            check_range(f"model.{key}", getattr(self, key), 1, 65_536)
        check_range("model.dropout", self.dropout, 0.0, 0.999)
        check_choice("model.engine", self.engine, tuple(ENGINES))
        check_remat(self.remat, "model.remat")


@dataclasses.dataclass(frozen=True)
class ClippingConfig:
    """What is done to the gradient before the update: nothing, or clipping."""

    name: Literal["none", "norm", "value"] = "norm"
    threshold: float = 1.0

    def __post_init__(self) -> None:
        check_choice("clipping", self.name, ("none", "norm", "value"))
        check_range("clipping.threshold", self.threshold, 1e-12)


@dataclasses.dataclass(frozen=True)
class BackpropConfig:
    """How the adjoint goes back in training (`rnnjax.recurrence.backprop`).

    The full probe measures the exact adjoint all the same; the light one rides on the
    training pass and shows the changed one.

    Attributes:
        name: the rule; `exact` is ordinary back-propagation through time.
        lag: the largest lag K that `cut` lets the gradient reach; it must be given,
            and is an input of the compiled program.
    """

    name: Backprop = "exact"
    lag: int | None = None

    def __post_init__(self) -> None:
        check_choice("backprop", self.name, get_args(Backprop))
        if self.name != "cut" and self.lag is not None:
            raise UserError(
                f"backprop.lag={self.lag} needs backprop=cut, not {self.name}"
            )
        if self.name == "cut":
            if self.lag is None:
                raise UserError("backprop=cut needs backprop.lag, a whole number")
            check_range("backprop.lag", self.lag, 0, 2**30)


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """When and how finely the gradient flow is measured.

    Attributes:
        preset: `off`; `light` (float32 norms that ride on the training pass); `full`
            (reverse scan with exponents, shares of each step, example sentences).
        steps: training steps to measure at; the last step is always one of them.
        batch: examples of the measured batch (held-out, the same for all runs).
        sentences: examples whose shares are kept one by one.
        keep_params: a full probe also stores the parameters that it saw.
    """

    preset: Literal["off", "light", "full"] = "full"
    steps: tuple[int, ...] = (0, 100, 500)
    batch: int = 32
    sentences: int = 4
    keep_params: bool = True

    def __post_init__(self) -> None:
        check_choice("probe", self.preset, ("off", "light", "full"))
        for step in self.steps:
            check_range("probe.steps", step, 0)
        check_range("probe.batch", self.batch, 1, 65_536)
        check_range("probe.sentences", self.sentences, 0, self.batch)


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Held-out evaluation: every so many steps, on so many examples."""

    every: int = 250
    size: int = 1000
    stop_when_solved: bool = False

    def __post_init__(self) -> None:
        check_range("eval.every", self.every, 1)
        check_range("eval.size", self.size, 1)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes.

    Attributes:
        cell: registered name of the cell, `cell_options` its fields.
        activation: φ of the cell, None for the cell's default.
        init: initialiser of the recurrent kernels.
        penalty: what is added to the loss.
        backprop: how the adjoint goes back in training.
        task: registered name of the task, `task_options` its fields.
        optimizer: the update rule.
        lr: learning rate η, `lr_schedule` how it goes on.
        batch: examples an update.
        shards: equal parts in which the batch is worked, each on a core of its own
            where the run is alone.
        steps: number of updates.
        seed: of parameters and data order; equal seeds see equal data.
        log_every: updates that one row of the metrics averages over.
        loss_bound: a run whose loss exceeds it counts as diverged.
    """

    cell: str
    task: str
    cell_options: Options = ()
    task_options: Options = ()
    activation: str | None = None
    init: InitConfig = InitConfig()
    model: ModelConfig = ModelConfig()
    optimizer: Optimizer = Adam()
    clipping: ClippingConfig = ClippingConfig()
    penalty: Penalty = NoPenalty()
    backprop: BackpropConfig = BackpropConfig()
    probe: ProbeConfig = ProbeConfig()
    eval: EvalConfig = EvalConfig()
    lr: float = 1e-3
    lr_schedule: Schedule = Constant()
    batch: int = 32
    shards: int = 1
    steps: int = 2000
    seed: int = 0
    log_every: int = 50
    loss_bound: float = 1e6

    def __post_init__(self) -> None:
        check_range("lr", self.lr, 0.0, 1e3)
        check_range("batch", self.batch, 1, 1_048_576)
        check_range("shards", self.shards, 1, self.batch)
        if self.batch % self.shards:
            raise UserError(
                f"shards={self.shards} does not divide batch={self.batch} evenly"
            )
        check_range("steps", self.steps, 0, 10**9)
        check_range("seed", self.seed, 0, 2**32 - 1)
        check_range("log_every", self.log_every, 1)
        check_range("loss_bound", self.loss_bound, 0.0)
        for choice in (self.optimizer, self.penalty, self.lr_schedule):
            choice.check()
        check_backprop(self.backprop.name, self.backprop.lag, self.model.engine)

    @property
    def probe_steps(self) -> tuple[int, ...]:
        """Training steps at which the gradient flow is measured, in order."""
        if self.probe.preset == "off":
            return ()
        within = {s for s in self.probe.steps if s <= self.steps} | {self.steps}
        return tuple(sorted(within))
