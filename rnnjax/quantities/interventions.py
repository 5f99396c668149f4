"""A state after one step replaced: the effect, and what the gradient says of it.

The change of the state is the same in an effect and in its prediction: to zero, to the
mean over examples, … as the attribute `how` of the data set says.
"""

from functools import partial

from rnnjax.quantities.quantity import Quantity


UNIT, WHOLE = ("array", "time", "unit"), ("array", "time")

_effect = partial(Quantity, by="programs.interventions.effects")
_predicted = partial(Quantity, by="programs.reruns.adjoints_of")

OF_LOSS = "as the loss"


def _of(prefix: str, dims: tuple[str, ...], what: str) -> dict[str, Quantity]:
    """The quantities of a single unit, or of a whole array."""
    loss = f"change of the loss when {what} after this step is replaced"
    own = f"change of the example's own loss when {what} after this step is replaced"
    said = (
        "first-order prediction of {}: the adjoint at this state times the change of "
        "the state; what is below the range of floats is 0"
    )
    mean = "mean over examples of the absolute value of {}; its absolute value where "
    mean += "the losses of examples are not known"
    each = (*dims, "example")
    effect, example = f"{prefix}effect_loss", f"{prefix}effect_loss_example"
    return {
        effect: _effect(dims, f"{loss}: after minus before", OF_LOSS),
        f"{effect}_abs": _effect(dims, mean.format(example), OF_LOSS),
        f"{effect}_predicted": _predicted(dims, said.format(effect), OF_LOSS),
        f"{effect}_predicted_abs": _predicted(
            dims, mean.format(f"{example}_predicted"), OF_LOSS
        ),
        f"{prefix}effect_output": _effect(
            dims,
            "root of the mean over examples of the squared Euclidean norm of the "
            f"change of the output when {what} after this step is replaced",
            "as the output",
        ),
        example: _effect(each, own, OF_LOSS),
        f"{example}_predicted": _predicted(each, said.format(example), OF_LOSS),
    }


INTERVENTIONS = {
    **_of("", UNIT, "this unit"),
    **_of("whole_", WHOLE, "this whole array"),
    "effect_rounding": Quantity(
        (),
        "change of the loss that rounding can make, to first order: the precision "
        "times the sum of the mean size of the loss and the root of the sum of "
        "|adjoint x state|^2 over steps and units, mean over examples; effects below "
        "it are not resolved",
        OF_LOSS,
        by="programs.reruns.adjoints_of",
    ),
}
