"""The complete description of one run, as a frozen record.

Hydra's `DictConfig` is used only in the command line; here everything is typed and
immutable. Ranges are checked when a record is created, so later code need not check.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from rnnjax.checks import check_choice, check_range
from rnnjax.errors import UserError
from rnnjax.penalties import NoPenalty, Penalty
from rnnjax.recurrence.backprop_rules import Backprop, check_backprop
from rnnjax.recurrence.engines import ENGINES
from rnnjax.recurrence.remat import Remat, check_remat
from rnnjax.training.optimizers import Adam, Optimizer
from rnnjax.training.schedules import Constant, Schedule


Options = tuple[tuple[str, Any], ...]
"""Keyword arguments as sorted pairs, which makes a record hashable and comparable."""


def options(mapping: Mapping[str, Any]) -> Options:
    """The items of a mapping as sorted pairs."""
    return tuple(sorted(mapping.items()))


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """Initialiser of the recurrent kernels; name None: the cell's own default."""

    name: str | None = None
    options: Options = ()


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the model around the cell, and how its recurrences are computed.

    For `engine` and `remat`, see `rnnjax.recurrence.layer.Recurrent`.
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
    """How the gradient is clipped before the update, if at all."""

    name: Literal["none", "norm", "value"] = "norm"
    threshold: float = 1.0

    def __post_init__(self) -> None:
        check_choice("clipping", self.name, ("none", "norm", "value"))
        check_range("clipping.threshold", self.threshold, 1e-12)


@dataclasses.dataclass(frozen=True)
class BackpropConfig:
    """How the adjoint is propagated in training (`rnnjax.recurrence.backprop_rules`).

    The full probe always measures the exact adjoint. The light probe is computed in the
    training pass and therefore shows the modified adjoint.

    Attributes:
        name: the rule; `exact` is ordinary back-propagation through time.
        lag: the largest lag K that the gradient can reach with `cut`; required there,
            and an input of the compiled program.
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


FEWEST = 8
"""With fewer examples there are too few groups for the error of a signal."""


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """When, and in how much detail, the gradient flow is measured.

    Attributes:
        preset: `off`; `light` (float32 norms computed during the training pass); `full`
            (reverse scan with separate exponents, shares of each step, example
            sentences).
        steps: training steps to measure at; the last step is always included.
        batch: size of the measured batch (held-out, the same for all runs).
        sentences: number of examples whose shares are stored individually.
        keep_params: whether a full probe also stores the parameters that it measured.
        signal: number of held-out examples whose contributions a full probe compares to
            tell signal from noise (`rnnjax.probes.contributions.signal`); 0: none.
    """

    preset: Literal["off", "light", "full"] = "full"
    steps: tuple[int, ...] = (0, 100, 500)
    batch: int = 32
    sentences: int = 4
    keep_params: bool = True
    signal: int = 0

    def __post_init__(self) -> None:
        check_choice("probe", self.preset, ("off", "light", "full"))
        for step in self.steps:
            check_range("probe.steps", step, 0)
        check_range("probe.batch", self.batch, 1, 65_536)
        check_range("probe.sentences", self.sentences, 0, self.batch)
        check_range("probe.signal", self.signal, 0, 65_536)
        if 0 < self.signal < FEWEST:
            raise UserError(
                f"probe.signal={self.signal} compares too few examples; use at least "
                f"{FEWEST}, or 0 to measure no signal"
            )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Held-out evaluation: every `every` steps, on at most `size` examples."""

    every: int = 250
    size: int = 1000
    stop_when_solved: bool = False

    def __post_init__(self) -> None:
        check_range("eval.every", self.every, 1)
        check_range("eval.size", self.size, 1)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that determines what a run computes.

    Attributes:
        cell: registered name of the cell, `cell_options` its fields.
        activation: φ of the cell, None for the cell's default.
        init: initialiser of the recurrent kernels.
        penalty: what is added to the loss.
        backprop: how the adjoint is propagated in training.
        task: registered name of the task, `task_options` its fields.
        optimizer: the update rule.
        lr: learning rate η, `lr_schedule` how it changes over the updates.
        batch: examples per update.
        pairs: whether half of the batch are the twins of the other half.
        shards: number of equal parts into which the batch is split; a run that is not
            packed with others computes each part on a core of its own.
        steps: number of updates.
        seed: seed of parameters and data order; equal seeds see equal data.
        log_every: number of updates over which one row of the metrics averages.
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
    pairs: bool = False
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
        if self.pairs and self.batch % 2:
            raise UserError(f"pairs=true needs an even batch, not batch={self.batch}")
        check_range("steps", self.steps, 0, 10**9)
        check_range("seed", self.seed, 0, 2**32 - 1)
        check_range("log_every", self.log_every, 1)
        check_range("loss_bound", self.loss_bound, 0.0)
        for choice in (self.optimizer, self.penalty, self.lr_schedule):
            choice.check()
        rule, model = self.backprop, self.model
        check_backprop(rule.name, rule.lag, model.engine, model.remat)

    @property
    def probe_steps(self) -> tuple[int, ...]:
        """Training steps at which the gradient flow is measured, in order."""
        if self.probe.preset == "off":
            return ()
        within = {s for s in self.probe.steps if s <= self.steps} | {self.steps}
        return tuple(sorted(within))
