"""The adding problem in a plain PyTorch loop: what `scripts.bench.job` compares with.

Runs as a script of its own, `python torch_loop.py JSON`, on one thread, one run after
the other; prints the seconds of each run's loop as JSON. The loop is that of rnnjax's
defaults: Adam, the gradient's norm clipped, an evaluation every `every` updates.
"""

import json
import sys
import time
from typing import Any

import torch  # pyright: ignore[reportMissingImports]


def adding(batch: int, length: int, random: Any) -> tuple[Any, Any]:
    """Numbers and two marks ``(T, B, 2)``, and the sum of the marked numbers."""
    values = torch.rand(length, batch, generator=random)
    half = length // 2
    marks = torch.zeros(length, batch)
    for low, high in ((0, half), (half, length)):
        place = torch.randint(low, high, (1, batch), generator=random)
        marks.scatter_(0, place, 1.0)
    return torch.stack([values, marks], -1), (values * marks).sum(0)


def train(cell: str, seed: int, job: dict[str, Any]) -> float:
    """Seconds of one run's loop."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell]
    layer, head = kind(2, job["hidden"]), torch.nn.Linear(job["hidden"], 1)
    params = [*layer.parameters(), *head.parameters()]
    adam = torch.optim.Adam(params, lr=1e-3)

    def loss_on(batch: int) -> Any:
        x, target = adding(batch, job["length"], random)
        return torch.nn.functional.mse_loss(head(layer(x)[0][-1])[:, 0], target)

    began = time.perf_counter()
    for update in range(job["updates"]):
        if update % job["every"] == 0:
            with torch.no_grad():
                loss_on(job["held_out"])
        adam.zero_grad(set_to_none=True)
        loss_on(job["batch"]).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        adam.step()
    return time.perf_counter() - began


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = json.loads(sys.argv[1])
    print(json.dumps([train(cell, seed, asked) for cell, seed in asked["runs"]]))
