"""One pass forward and one pass back through any model, with every cotangent kept.

`trace` is the whole model, `walk` one direction of one layer, `single_layer` a
recurrence without a model around it. `marked_program`, `recurrences` and `segments` cut
a model at its recurrences; `segment_adjoints` and `parameter_gradient` put the gradient
together.
"""
