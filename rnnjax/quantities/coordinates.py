"""The axes of the quantities."""

COORDINATES = {
    "train_step": "number of parameter updates made before the measurement",
    "layer": "recurrent layer and, if it walks backwards, its direction",
    "array": "state array, or all of them jointly",
    "time": "time step of the input, the first is 0",
    "lag": "steps between the last loss step and this one",
    "example": "example of the probed batch",
    "sentence": "the first examples of the probed batch, for quantities that cost more",
    "parameter": "parameter or effective kernel, as layer/name",
    "parameter_array": "array of the model's parameters, or all of them",
    "bound": "estimate, and the ends of its 95 % interval",
    "activation": "call of an activation within the cell",
    "gate": "gate of the cell",
    "unit": "unit of the layer",
    "bin": "bin of a histogram",
    "edge": "edge of a bin",
    "step": "step of the walk",
    "mode": "singular value or eigenvalue, the largest first",
    "lag_probed": "steps back from the last one",
    "exponent": "Lyapunov exponent, the largest first",
    "cut_lag": "lag at which the gradient is cut",
    "site": "product of a kernel with a state, as layer/name",
}
"""What is counted along each axis."""
