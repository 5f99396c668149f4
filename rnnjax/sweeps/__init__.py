"""From overrides on the command line to sealed runs in a pool.

`compose.plan` makes jobs, `launch.launch` gives them to a launcher, `worker` packs and
computes them, `pack_run` begins, trains and seals the runs of one pack.
"""
