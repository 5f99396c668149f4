"""Cells beside Elman, GRU and LSTM: a training step of ours over one of torchrecurrent.

The step and *ours* are those of the benchmark `recurrence`. torchrecurrent runs its
loop over time with one and with two threads; the better one counts. Its equations may
differ in details from the paper's, its cost does not.
"""

from collections.abc import Iterator
from typing import Any

from scripts.bench.recurrence import (
    SIZES,
    UPDATES,
    cores,
    example,
    geometric_mean,
    ours,
    torch_steps,
)
from scripts.bench.timing import interleaved


PEERS = {
    "antisymmetric": "AntisymmetricRNN",
    "atr": "ATR",
    "cfn": "CFN",
    "cornn": "coRNN",
    "fastrnn": "FastRNN",
    "indrnn": "IndRNN",
    "janet": "JANET",
    "lem": "LEM",
    "ligru": "LiGRU",
    "mgu": "MGU",
    "minimal_rnn": "MinimalRNN",
    "peephole_lstm": "PeepholeLSTM",
    "ran": "RAN",
    "star": "STAR",
    "ugrnn": "UGRNN",
}


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each cell and size, then the geometric mean over all of them."""
    import torchrecurrent  # pyright: ignore[reportMissingImports]

    ratios = []
    for cell, peer in PEERS.items():
        for batch, length, n in SIZES:
            name = f"{cell}-{batch},{length},{n}"
            if only not in name:
                continue
            x, weight = example((batch, length, n))
            layer = getattr(torchrecurrent, peer)(n, n)
            functions = {
                "ours": ours(cell, x, weight, UPDATES, cores(batch)),
                **torch_steps(layer, x, weight),
            }
            timed = interleaved(functions, seconds / 4, least=3)
            own = timed["ours"].median / UPDATES
            best = min(timed["torch1"].median, timed["torch2"].median)
            ratios.append(own / best)
            yield _row(name, 1e3 * own, own / best)
    if ratios:
        yield _row("geometric mean", None, geometric_mean(ratios))


def _row(name: str, milliseconds: float | None, ratio: float | None) -> dict[str, Any]:
    return {
        f"{'cell-B,T,n':24}": f"{name:24}",
        "ours ms": milliseconds,
        "/ torchrecurrent": ratio,
    }
