"""The probed batch: its loss, lengths and words, and where its states explode."""

from rnnjax.quantities.quantity import Quantity


BATCH = {
    "loss": Quantity(
        (),
        "loss of the probed batch",
        "nats or squared error",
        by="backward.trace.backward",
    ),
    "length": Quantity(("example",), "valid steps", "steps"),
    "last_step": Quantity(
        ("example",), "last loss step s; the lag is s - time", "steps"
    ),
    "informative": Quantity(
        ("time", "example"), "1 where the target depends on this step"
    ),
    "word": Quantity(
        ("time", "sentence"), "word at this step (padding: empty)", "text"
    ),
    "lag_is_time": Quantity(
        ("layer",),
        "1 where the lag is the time step itself: a walk from the end that the answer "
        "reads at step 0; 0: it is last_step - time",
        by="adjoints.norms.lags_forward",
    ),
    "first_nonfinite_step": Quantity(
        ("array", "example"),
        "first time step, in the order of the walk, after which this state holds inf "
        "or NaN: there the network has exploded, and what hangs on the state is NaN; "
        "NaN: the state is finite at every step",
        "steps",
        by="dynamics.explosion.first_nonfinite",
    ),
    "bypass": Quantity(
        (),
        "norm of what of the gradient at the inputs (or at their embeddings) reaches "
        "them with the outputs of every measured recurrence held fixed, over that norm "
        "plus the norm of the rest",
        by="backward.parameter_gradient.past_recurrences",
    ),
}
