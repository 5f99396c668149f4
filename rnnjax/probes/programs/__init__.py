"""Loops of any traced JAX program: found, cut out, and walked backwards.

A program is traced once (`program`), with associative scans as the loops that they mean
(`folding`) and all choices made (`specialise`). Every `lax.scan` in it is then a loop,
wherever `jit`, `remat` or a derivative rule has put it: `loops` finds and names them,
`loop_run` and `loop_back` go forward and back through one of them, `whole` through all.
"""
