"""Benchmarks: ratios side by side, in one process; see `python -m scripts.bench -h`."""
