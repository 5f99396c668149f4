"""Folders of a user's configuration, and files of a user's code, mostly broken."""

import os
from pathlib import Path

from scripts.soak.generated_case import MARKER
from scripts.soak.generated_values import odd, override
from scripts.soak.mutations import Rng, changed, pick


Words = list[str]

YAML = (
    "lr: 0.5\n",
    "defaults: [{override /cell: gru}]\nlr: .1\n",
    "defaults: [{override /cell: nope}]\n",
    "defaults: [nope]\n",
    "defaults: {a: 1}\n",
    "defaults: [1, null, [2], {a: [b]}]\n",
    "defaults: [_self_, x]\n",
    "defaults: [{/experiment: y}]\n",
    "defaults: 3\n",
    "sweep: {seed: [0, 1]}\n",
    "sweep: {seed: {}}\n",
    "sweep: {seed: 'range(3)', lr: null}\n",
    "sweep: [1]\n",
    "sweep: {zip: [{cell: lstm}, {cell: gru, lr: 1}]}\n",
    "sweep: {1: 2}\n",
    "sweep: {'a=b': 2, '': 3}\n",
    "sweep: {seed: 'range(1e9)'}\n",
    "sweep: {cell: ['gone.py:X']}\n",
    "lr: 2001-01-01\n",
    "lr: 2001-01-01 10:00:00\n",
    "lr: !!binary aGVsbG8=\n",
    "lr: !!set {a, b}\n",
    "lr: !!omap [a: 1]\n",
    f"lr: !!python/object/apply:os.system ['touch {MARKER}']\n",
    f"lr: !!python/object/new:os.mkdir ['{MARKER}']\n",
    "lr: !mine 3\n",
    "lr: 1:30:00\n",
    "lr: 0o17\nseed: 0b11\nsteps: 1_000\n",
    "lr: .inf\nseed: .nan\n",
    "lr: ${lr}\n",
    "lr: ${seed}\nseed: ${lr}\n",
    "lr: ${oc.env:HOME}\n",
    "lr: ${model.hidden}\nmodel: ${eval}\n",
    "model: 3\n",
    "model: [1]\n",
    "model: null\n",
    "model: {}\n",
    "model: {hidden: {a: 1}}\n",
    "cell: lstm\n",
    "cell: null\n",
    "cell: {name: gru, nope: 1}\n",
    "cell: [lstm]\n",
    "hydra: {run: {dir: x}}\n",
    "hydra: {callbacks: {a: {_target_: nothing.Here}}}\n",
    "1: 2\nnull: 3\ntrue: 4\n1.5: x\n",
    "? [a, b]\n: 3\n",
    "? {a: b}\n: 3\n",
    "<<: {lr: 3}\n",
    "a: &a {b: 1}\nmodel: {<<: *a, hidden: 3}\n",
    "a: &a [*a]\n",
    "a: &a {b: *a}\n",
    "- 1\n- 2\n",
    "just text\n",
    "42\n",
    "null\n",
    "",
    "---\nlr: 1\n---\nlr: 2\n",
    "%YAML 9.9\n---\nlr: 1\n",
    "lr: 1\nlr: 2\n",
    "lr:\t1\n",
    "lr: [1\n",
    "lr: 'a\n",
    "lr: *nope\n",
    "lr: |\n  a\n b\n",
    "\ufefflr: 1\n",
    "lr: 1\r\nseed: 2\r\n",
    "é: 1\n",
    "a.b: 1\n'': 2\n",
    "a: " + "[" * 3000 + "\n",
    "a: " + "{b: " * 500 + "1" + "}" * 500 + "\n",
    "lr: " + "9" * 6000 + "\n",
    "lr: " + "x" * 20_000 + "\n",
    "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{i + 1}: &a{i + 1} [{','.join([f'*a{i}'] * 9)}]\n" for i in range(9)),
    "a0: &a0 {k: v}\n"
    + "".join(f"a{i + 1}: &a{i + 1} {{p: *a{i}, q: *a{i}}}\n" for i in range(30)),
)
PACKAGES = ("# @package _global_\n", "# @package _global_\n", "", "# @package é x\n")

CODE = (
    "from rnnjax.cells import Cell\nclass X(Cell):\n    pass\n",
    "class X:\n    pass\n",
    "X = 3\n",
    "X = None\n",
    "def X(): pass\n",
    "class X(\n",
    "raise SystemExit(3)\n",
    "import sys; sys.exit('bye')\n",
    "raise KeyError('a')\n",
    "raise ValueError('two\\nlines')\n",
    "raise BaseException('base')\n",
    "raise GeneratorExit\n",
    "1/0\n",
    "def f(): f()\nf()\n",
    "import nothing_of_this_name\n",
    "from . import x\n",
    "X = type('X', (), {})()\n",
    "\x00",
    "# -*- coding: nope -*-\nX = 1\n",
    "# -*- coding: latin-1 -*-\nX = 'é'\n",
    "from rnnjax.tasks.base import Task\nclass X(Task):\n    pass\n",
    "import dataclasses\nfrom rnnjax.tasks.base import Task\n"
    "@dataclasses.dataclass(frozen=True)\nclass X(Task):\n    a: int = 0\n",
    "x = " + "(" * 1000 + ")" * 1000,
    "x = " + "-" * 100_000 + "1",
    "",
)


def configuration(rng: Rng, ground: Path) -> Words:
    """A variant or an experiment of a user's, chosen or listed."""
    group = pick(rng, ("variant", "experiment"))
    for name in "xy":
        file = Path("mine") / group / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = pick(rng, PACKAGES) + "".join(
            pick(rng, YAML) for _ in range(int(rng.integers(1, 3)))
        )
        content = text.encode()
        file.write_bytes(changed(rng, content) if rng.random() < 0.2 else content)
    if rng.random() < 0.15:
        return ["list", f"{group}s", "--config-dir", "mine"]
    several = ["-m"] if rng.random() < 0.6 else []
    more = override(rng) if rng.random() < 0.3 else []
    return ["train", "-n", *several, f"{group}=x", *more, "--config-dir", "mine"]


def odd_folder(rng: Rng, ground: Path) -> Words:
    """A configuration folder that is none, or holds other things than files."""
    way = int(rng.integers(4))
    if way == 0:
        return ["train", "-n", "--config-dir", odd(rng) or "x"]
    Path("mine/variant").mkdir(parents=True)
    place = Path("mine/variant/x.yaml")
    (Path.mkdir, os.mkfifo, lambda file: file.symlink_to("x.yaml"))[way - 1](place)
    return ["train", "-n", "variant=x", "--config-dir", "mine"]


def code(rng: Rng, ground: Path) -> Words:
    """A cell or a task in a file of a user's, which is executed."""
    kind = pick(rng, ("cell", "task"))
    text = pick(rng, CODE).encode("utf-8")
    Path("mine.py").write_bytes(changed(rng, text) if rng.random() < 0.1 else text)
    value = pick(rng, ("mine.py:X",) * 6 + ("mine.py:Y", "gone.py:X", ".:X", "x.py:é"))
    return ["train", "-n", f"{kind}={value}", *override(rng)[: int(rng.integers(2))]]
