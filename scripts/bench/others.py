"""Cells beside Elman, GRU and LSTM: a training step of ours over one of torchrecurrent.

The step is that of the benchmark `recurrence`; ours parts the batch over all cores.
torchrecurrent runs its loop over time with one and with two threads; the better one
counts. Its equations may differ in details from the paper's, its cost does not.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.bench.recurrence import SIZES, UPDATES, devices, geometric_mean
from scripts.bench.steps import Size, ours, torch_steps
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


def rows(
    seconds: float, only: str = "", sizes: Sequence[Size] = SIZES
) -> Iterator[dict[str, Any]]:
    """One row for each cell, then the geometric mean over cells and sizes.

    A column a size, those whose name, as `lem-20,100,50`, contains `only`.
    """
    everything = []
    for cell in PEERS:
        found = {}
        for size in sizes:
            title = ",".join(map(str, size))
            if only in f"{cell}-{title}":
                found[f"/ at {title}"] = _ratio(cell, size, seconds)
        if found:
            everything += found.values()
            yield _row(cell, found, sizes)
    if len(everything) > 1:
        mean = geometric_mean(everything)
        yield _row("all", {}, sizes) | {"/ torchrecurrent": mean}


def _row(cell: str, found: dict[str, float], sizes: Sequence[Size]) -> dict[str, Any]:
    every = [f"/ at {','.join(map(str, size))}" for size in sizes]
    columns = {title: found.get(title) for title in every}
    mean = geometric_mean([*found.values()])
    return {f"{'cell':14}": f"{cell:14}", **columns, "/ torchrecurrent": mean}


def _ratio(cell: str, size: Size, seconds: float) -> float:
    import torchrecurrent  # pyright: ignore[reportMissingImports]

    layer = getattr(torchrecurrent, PEERS[cell])(size[-1], size[-1])
    own = ours(cell, size, UPDATES, devices(size))
    timed = interleaved(
        {"ours": own, **torch_steps(layer, size)}, seconds / 10, least=2
    )
    peer = min(timed["torch1"].median, timed["torch2"].median)
    return timed["ours"].median / UPDATES / peer
