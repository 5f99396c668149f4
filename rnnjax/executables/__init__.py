"""Compiled programs that are kept on disk and found again before anything is traced.

JAX's own cache looks a program up by its HLO, so every process still traces and lowers
it. Here a program is looked up by what it is made from:

- `description`: the static values it depends on, as text that is the same everywhere;
- `key`: that text together with the code, the arguments and the machine;
- `pytrees`, `stored`: a compiled program as bytes, without pickle, and back;
- `folder`: the files, and how many of them are kept;
- `lookup`: the program for a key, loaded or compiled.
"""
