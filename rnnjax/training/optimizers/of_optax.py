"""Every optax optimizer that needs nothing but the gradient, under optax's name.

The keys in a configuration are the arguments of the optax function, with optax's
defaults. Weight decay does not apply to biases and other parameters that are not
matrices.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from rnnjax.errors import UserError, one_line
from rnnjax.training.optimizers.base import OPTIMIZERS, Optimizer


LEFT_OUT = frozenset({"lbfgs", "noisy_sgd", "polyak_sgd", "rprop"})
"""The first three also need loss values or random numbers. rprop reads the learning
rate only once, so that a schedule would have no effect."""

PARTS = "_", "scale_by_"
"""Prefixes of optax names to skip: private or deprecated functions, and the building
blocks of optimizers."""

FORMULAS = {
    "adabelief": "adam with the mean of (g − m)² as v; Zhuang et al. 2020",
    "adadelta": "w ← w − η g √(u + eps) / √(v + eps), u the mean of Δw²; Zeiler 2012",
    "adafactor": "v factored into means over rows and columns; Shazeer & Stern 2018",
    "adagrad": "s ← s + g², w ← w − η g / √(s + eps); Duchi et al. 2011",
    "adamax": "u ← max(b2 u, |g|), w ← w − η m̂ / u; Kingma & Ba 2015",
    "adamaxw": "u ← max(b2 u, |g|), w ← w − η (m̂ / u + weight_decay w)",
    "adamw": "w ← w − η (m̂ / (√v̂ + eps) + weight_decay w); Loshchilov & Hutter 2019",
    "adan": "running means of g, of its differences and of squares; Xie et al. 2022",
    "amsgrad": "adam with the largest v̂ so far; Reddi et al. 2018",
    "fromage": "w ← (w − η ‖w‖ g / ‖g‖) / √(1 + η²); Bernstein et al. 2020",
    "lamb": "adam's step scaled to ‖w‖ of each array; You et al. 2020",
    "lars": "momentum with the rate scaled by ‖w‖ / ‖g‖ per array; You et al. 2017",
    "lion": "w ← w − η (sign(b1 m + (1 − b1) g) + weight_decay w); Chen et al. 2023",
    "nadam": "adam with Nesterov's momentum; Dozat 2016",
    "nadamw": "adamw with Nesterov's momentum; Dozat 2016",
    "novograd": "adam with one v per array; Ginsburg et al. 2019",
    "optimistic_adam": "adam with a look-ahead step; Daskalakis et al. 2018",
    "optimistic_adam_v2": "adam with a look-ahead step; Daskalakis et al. 2018",
    "optimistic_gradient_descent": "w ← w − η ((alpha + beta) g_k − beta g_{k−1})",
    "radam": "adam, rectified while v̂ is uncertain; Liu et al. 2020",
    "sign_sgd": "w ← w − η sign(g)",
    "signum": "w ← w − η sign(m); Bernstein et al. 2018",
    "sm3": "adagrad with sums over rows and columns; Anil et al. 2019",
    "yogi": "adam with v ← v − (1 − b2) sign(v − g²) g²; Zaheer et al. 2018",
}
"""Descriptions: m and v are running means of g and g²; a hat means bias-corrected."""

MASKS = frozenset({"mask", "weight_decay_mask"})
"""Arguments that select the parameters subject to weight decay."""

SCALARS = (bool, int, float)


@dataclasses.dataclass(frozen=True)
class OptaxOptimizer(Optimizer):
    """An optax optimizer; each has a subclass whose fields are its arguments."""

    function: ClassVar[Callable[..., optax.GradientTransformation]]

    def transformation(self, lr: Any) -> optax.GradientTransformation:
        """The rule as created by the optax function."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        known = inspect.signature(type(self).function).parameters
        masks = {name: matrices for name in MASKS & known.keys()}
        return type(self).function(lr, **values, **masks)

    def numbers(self) -> dict[str, float | int]:
        """The fields that have a value and that optax accepts as traced arrays."""
        return {
            name: value
            for name, value in super().numbers().items()
            if value is not None and name in _traced(type(self))
        }

    def check(self) -> None:
        """Trace an update of small arrays to see whether optax accepts the values.

        Raises:
            UserError: optax rejects a value.
        """
        if refusal := _refusal(self, type(self).function):
            raise UserError(f"optimizer={self.name}: {refusal}")


def matrices(params: Any) -> Any:
    """True for each array with two or more dimensions."""
    return jax.tree.map(lambda x: jnp.ndim(x) > 1, params)


def register_optax() -> None:
    """Register the optax optimizers whose names are not taken yet."""
    for name in sorted(dir(optax)):
        function = getattr(optax, name)
        if name in OPTIMIZERS or name in LEFT_OUT or name.startswith(PARTS):
            continue
        if _is_optimizer(function):
            OPTIMIZERS.register(name)(_class_of(name, function))


def _is_optimizer(thing: object) -> bool:
    """Whether it is a function of a learning rate that returns a transformation."""
    function = thing.func if isinstance(thing, functools.partial) else thing
    if not isinstance(function, types.FunctionType):
        return False
    found = inspect.signature(function)
    is_rule = "GradientTransformation" in str(found.return_annotation)
    return is_rule and next(iter(found.parameters), "") == "learning_rate"


def _class_of(name: str, function: Callable[..., Any]) -> type[OptaxOptimizer]:
    fields: list[tuple[str, Any, Any]] = []
    for key, parameter in list(inspect.signature(function).parameters.items())[1:]:
        kind = _kind(parameter)
        if kind is not None and not key.endswith("mask"):
            default = parameter.default
            fields.append((key, kind, float(default) if kind is float else default))
    about = FORMULAS.get(name) or (inspect.getdoc(function) or name).partition("\n")[0]
    space = {"name": name, "function": staticmethod(function), "__doc__": about}
    made = dataclasses.make_dataclass(
        name, fields, bases=(OptaxOptimizer,), namespace=space, frozen=True
    )
    made.__module__ = __name__
    return made


def _kind(parameter: inspect.Parameter) -> Any:
    """The type of the configuration key for an argument; None: it cannot be a key."""
    takes_floats = "float" in str(parameter.annotation)
    if parameter.default is None and takes_floats:
        return float | None
    kind = type(parameter.default)
    if kind in SCALARS:
        return float if kind is int and takes_floats else kind
    return None


@functools.lru_cache(maxsize=1024)
def _refusal(optimizer: Optimizer, function: Callable[..., Any]) -> str:
    """Why optax rejects the values; empty: it does not. Every job of a sweep asks."""
    del function  # part of the key of the cache
    try:
        _abstract_update(optimizer)
    except Exception as error:
        return one_line(error)
    return ""


def _abstract_update(optimizer: Optimizer) -> Any:
    rule = optimizer.transformation(0.1)
    params = {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}

    def update() -> Any:
        return rule.update(params, rule.init(params), params)

    return jax.eval_shape(update)


@functools.cache
def _traced(kind: type[OptaxOptimizer]) -> frozenset[str]:
    """The fields that can be traced: optax does not need their values in Python."""
    plain = kind()
    names = [f.name for f in dataclasses.fields(kind) if f.type is float]

    def works(name: str) -> bool:
        def with_array(value: Any) -> Any:
            made = dataclasses.replace(plain, **{name: value})
            return _abstract_update(made)

        try:
            jax.eval_shape(with_array, jnp.asarray(getattr(plain, name), float))
        except Exception:  # optax compares the value, or needs a concrete number
            return False
        return True

    return frozenset(filter(works, names))
