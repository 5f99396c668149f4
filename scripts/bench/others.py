"""Cells beside Elman, GRU and LSTM: a training step of ours over one of torchrecurrent.

The step and *ours* are those of the benchmark `recurrence`. torchrecurrent runs its
loop over time with one and with two threads; the better one counts. Its equations may
differ in details from the paper's, its cost does not.
"""

from collections.abc import Iterator
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


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each cell, then the geometric mean over cells and sizes.

    A column a size, those whose name, as `lem-20,100,50`, contains `only`.
    """
    everything = []
    for cell in PEERS:
        found = {}
        for size in SIZES:
            title = ",".join(map(str, size))
            if only in f"{cell}-{title}":
                found[f"/ at {title}"] = _ratio(cell, size, seconds)
        if found:
            everything += found.values()
            yield _row(cell, found, geometric_mean([*found.values()]))
    if len(everything) > 1:
        yield _row("all", {}, geometric_mean(everything))


def _row(cell: str, found: dict[str, float], mean: float | None) -> dict[str, Any]:
    every = [f"/ at {','.join(map(str, size))}" for size in SIZES]
    columns = {title: found.get(title) for title in every}
    return {f"{'cell':14}": f"{cell:14}", **columns, "/ torchrecurrent": mean}


def _ratio(cell: str, size: Size, seconds: float) -> float:
    import torchrecurrent  # pyright: ignore[reportMissingImports]

    layer = getattr(torchrecurrent, PEERS[cell])(size[-1], size[-1])
    functions = {"one": ours(cell, size, UPDATES), **torch_steps(layer, size)}
    if devices(size) > 1:
        functions["parted"] = ours(cell, size, UPDATES, devices(size))
    timed = interleaved(functions, seconds / 4, least=3)
    own, peer = (
        min(timed[name].median for name in names if name in timed)
        for names in (("one", "parted"), ("torch1", "torch2"))
    )
    return own / UPDATES / peer
