"""The training program, packs of runs, and the loop of the host that drives them.

`program` is pure and compiled; `loop` evaluates, probes, records and saves between its
calls. Optimizers are in `optimizers`, one file each.
"""
