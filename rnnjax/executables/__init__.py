"""Compiled programs that are kept on disk and found again before anything is traced.

- `description`: the static values that a program depends on, as plain values;
- `pytrees`, `stored`: a compiled program as bytes, without pickle, and back;
- `folder`: the files, and how many of them are kept;
- `lookup`: the keys of a program, and the program itself, loaded or compiled;
- `functions`: functions that are compiled like those of `jax.jit`, and kept.
"""
