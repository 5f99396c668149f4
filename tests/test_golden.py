"""The numbers of twelve small runs are those of the record.

On the machine of the record all bits are equal. On another one, whose compiler or
processor rounds differently, the first `FIRST` updates agree to `TOLERANCE`.
`make golden WHY='…'` renews the record, for a change that means to change numbers.
"""

import itertools

import numpy as np
import pytest

from rnnjax.sweeps.verifying import TOLERANCE
from tests import golden_runs as golden


ALWAYS = {("elman", "full")}
"""What every test run looks at; the other pairs are looked at in CI."""

PAIRS = [
    pytest.param(*pair, marks=() if pair in ALWAYS else pytest.mark.slow)
    for pair in itertools.product(golden.CELLS, golden.PROBES)
]


@pytest.mark.parametrize(("cell", "probe"), PAIRS)
def test_numbers_are_those_of_the_record(cell, probe, tmp_path, request):
    runs = golden.run_both(cell, probe, tmp_path / "pool")
    if request.config.getoption("--renew-golden"):
        golden.save(cell, probe, runs)
    same_machine = golden.machine() == golden.recorded_machine()
    for seed, run, record in zip(
        golden.SEEDS, runs, golden.load(cell, probe), strict=True
    ):
        # a new quantity is no change; a missing one is
        assert record.keys() <= run.keys()
        if same_machine:
            changed = [
                name for name in record if not same_bits(run[name], record[name])
            ]
            assert not changed, f"seed {seed}: other bits in {changed}"
        else:
            run, record = map(golden.first_updates, (run, record))
            for name, wanted in record.items():
                assert difference(run[name], wanted) < TOLERANCE, name


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference, relative to the largest finite number; inf: other kinds."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    finite = np.isfinite(b)
    scale = max(np.abs(b[finite]).max(initial=0.0), 1e-3)
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0) / scale)


def test_a_changed_number_is_seen():
    """One bit on the same machine; twice the tolerance on another."""
    record = golden.load("gru", "full")[0]
    name = next(key for key in record if key.startswith("early/"))
    wanted = record[name]
    other = wanted.copy()
    other.flat[0] = np.nextafter(other.flat[0], np.inf, dtype=other.dtype)
    assert not same_bits(other, wanted)
    assert difference(other, wanted) < TOLERANCE
    other.flat[0] += 2 * TOLERANCE * np.abs(wanted).max()
    assert difference(other, wanted) > TOLERANCE
