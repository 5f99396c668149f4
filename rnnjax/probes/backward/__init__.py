"""One forward and one backward pass through any model that keep every cotangent.

`trace` handles a whole model, `walk` one direction of one layer, and `single_layer` a
recurrence without a model around it. `marked_program`, `recurrences` and `segments` cut
a model at its recurrences; `segment_adjoints` and `parameter_gradient` reassemble the
gradient.
"""
