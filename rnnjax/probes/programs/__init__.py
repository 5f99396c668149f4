"""Loops of any traced JAX program: found, cut out, and walked backwards.

A program is traced once; every `lax.scan` in it is a site, wherever `jit`, `remat` or a
derivative rule has put it. `loops` finds and names them, `loop_walk` goes forward and
back through one of them, `whole` through all.
"""
