"""A cell run over time: the forward scan, and the one loop that goes back through time.

`scan` and the other engines (`engines`) compute states; `reverse` has the reverse scan
of training, which `newton` and `rnnjax.probes.backward.walk` use too, the latter with
exponents (`scaled`) so that no adjoint underflows. `parallel` differentiates linear
recurrences by itself.
"""
