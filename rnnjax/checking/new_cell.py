"""A cell to begin with: its file and its test."""

import importlib.util
import keyword
import re
import shlex
from pathlib import Path

from rnnjax.cells import CELLS
from rnnjax.errors import UserError
from rnnjax.paths import user_path


CELL = '''\
"""{name}: a recurrent cell to begin with. Write your own equations over these."""

from rnnjax.cells import Cell, sigmoid, tanh


class {kind}(Cell):
    """A state that moves towards a candidate, by a gate.

        z = σ(V_z x_t + U_z h_{{t−1}} + b_z)
        h_t = h_{{t−1}} + rate · z ⊙ (tanh(V_h x_t + U_h h_{{t−1}} + b_h) − h_{{t−1}})

    State: h ``(B, n)``.

    Attributes:
        rate: the fraction of the way; on a command line, cell.rate=0.5.
    """

    rate: float = 1.0

    def setup(self):
        # kernel(name, rows, columns, initialiser); names: `rnnjax list inits`.
        # gates=2: twice the columns, (m, 2n), and each half is initialised alone.
        n = self.features
        self.kernel("V", self.inputs, n, "glorot_uniform", gates=2)
        self.kernel("Uz", n, n, "orthogonal")
        self.kernel("Uh", n, n, "orthogonal")
        self.b = self.vector("b", 2 * n)

    def readin(self, x):
        # Everything that depends on the input alone, for all steps at once (T, B, m).
        # project multiplies the input by a kernel; probes see this product.
        return self.project("V", x) + self.b

    def step(self, h, drive):
        # One step: the new state from the state before and the drive (B, 2n), computed
        # with jax.numpy alone. recur multiplies the state by a kernel.
        n = self.features
        z = sigmoid(drive[..., :n] + self.recur("Uz", h), "gate")
        candidate = tanh(drive[..., n:] + self.recur("Uh", h), "candidate")
        return h + self.rate * z * (candidate - h)

    # A state of two arrays: `class State(NamedTuple): h: Any; c: Any` above, and
    #
    #     def initial_state(self, batch):
    #         zero = jnp.zeros((*batch, self.features), self.param_dtype)
    #         return State(zero, zero)
    #
    # Then step takes and returns a State, and the next layer reads its first array.
'''

TEST = """\
from {name} import {kind}
from rnnjax.testing import check_cell


def test_{name}():
    check_cell({kind}).raise_if_failed()
"""


def class_name(name: str) -> str:
    """The name of the class in a file of this name.

    >>> class_name("my_cell"), class_name("LSTMish")
    ('MyCell', 'LSTMish')
    """
    parts = [part for part in name.split("_") if part]
    return "".join(part[0].upper() + part[1:] for part in parts) or name


def new_cell(name: str, folder: Path | str = ".") -> str:
    """Write ``NAME.py`` with a cell that passes the check, and ``test_NAME.py``.

    Args:
        name: of the file; the class is called the same in capitals, see `class_name`.
        folder: where; made if it is missing.

    Returns:
        what was written and which commands to type next.

    Raises:
        UserError: the name is no Python name, is taken, or a file is there already.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(
            f"'{name}' cannot name a Python file and a class: use letters, digits and "
            "_, beginning with a letter, such as my_cell"
        )
    kind = class_name(name)
    if name in CELLS or kind in CELLS:
        raise UserError(f"a cell {name} already exists; choose another name")
    place = user_path(str(folder), f"folder={folder}")
    files = {
        place / f"{name}.py": CELL.format(name=name, kind=kind),
        place / f"test_{name}.py": TEST.format(name=name, kind=kind),
    }
    for file in files:
        if file.exists() or file.is_symlink():
            raise UserError(f"{file} is there already; choose another name")
    if importlib.util.find_spec(name) is not None:
        raise UserError(f"{name}.py would hide the module {name}; choose another name")
    place.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    cell, test = (shlex.quote(str(file)) for file in files)
    return (
        f"wrote {cell} and {test}; next:\n"
        f"  rnnjax check {cell}:{kind}\n"
        f"  rnnjax train -m cell={cell}:{kind},lstm seed=0,1,2\n"
    )
