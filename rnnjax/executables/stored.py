"""A compiled program as bytes, and back.

The bytes are one line of JSON, which says how to pass arguments and what comes out,
and the machine code as XLA serialises it. There is no pickle in it.
"""

import dataclasses
import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from jaxlib.xla_client import DeviceList

from rnnjax.executables import pytrees
from rnnjax.executables.description import Undescribed, sharding
from rnnjax.executables.pytrees import Structure


MAGIC = b"rnnjax executable 1\n"

TRACED = "traced"
"""Stands for a structure that was not written."""

PORTABLE = re.compile(
    r"lapack_\w+|Sharding|SPMD\w+|cu_threefry2x32\w*|xla\.sdy\.\w+|annotate_\w+"
)
"""Calls in StableHLO whose target every process has under the same name. A callback
into Python, for one, is an address in the process that compiled it."""

_CALLS = re.compile(r"custom_call @\"?([\w.$]+)")


@dataclasses.dataclass(frozen=True)
class Stored:
    """A program that was loaded; call it like a compiled `jax.jit` function.

    Attributes:
        executable: XLA's program.
        inputs: sharding of every leaf of the arguments.
        outputs: shape and sharding of every leaf of the result.
        tree: structure of the result.
    """

    executable: Any
    inputs: Sequence[Any]
    outputs: Sequence[tuple[tuple[int, ...], Any]]
    tree: Structure

    def __call__(self, *arguments: Any) -> Any:
        leaves = jax.device_put(jax.tree.leaves(arguments), list(self.inputs))
        found = self.executable.execute_sharded(leaves)
        parts = found.disassemble_into_single_device_arrays()
        made = [
            jax.make_array_from_single_device_arrays(shape, place, part)
            for (shape, place), part in zip(self.outputs, parts, strict=True)
        ]
        return jax.tree.unflatten(self.tree, made)

    def memory_analysis(self) -> Any:
        """Bytes that the program needs, as `jax.stages.Compiled.memory_analysis`."""
        return self.executable.get_compiled_memory_stats()


def check_portable(hlo: str) -> bool:
    """Whether a program, given as StableHLO, calls LAPACK.

    Raises:
        Undescribed: the program calls something that only this process has.
    """
    calls = set(_CALLS.findall(hlo))
    if own := [name for name in calls if not PORTABLE.fullmatch(name)]:
        raise Undescribed(f"a call of {min(own)}")
    return any(name.startswith("lapack") for name in calls)


def to_bytes(compiled: jax.stages.Compiled, lapack: bool) -> bytes:
    """A program that was lowered with ``keep_unused=True``, as bytes.

    It must have been compiled by this process: a program that JAX took from its own
    cache has lost its kernels.

    Raises:
        Undescribed: it cannot be written.
    """
    if getattr(jax.config, "jax_use_simplified_jaxpr_constants", False):
        raise Undescribed("constants as arguments of their own")
    program: Any = compiled.runtime_executable()
    outputs = jax.tree.leaves(compiled.out_info)
    places = jax.tree.leaves(compiled.output_shardings)
    if any(jnp.issubdtype(x.dtype, jax.dtypes.extended) for x in outputs):
        raise Undescribed("random keys in the result")
    content = zlib.compress(program.client.serialize_executable(program), 1)
    head = {
        "inputs": [sharding(x) for x in jax.tree.leaves(compiled.input_shardings)],
        "outputs": [
            [list(x.shape), sharding(place)]
            for x, place in zip(outputs, places, strict=True)
        ],
        "devices": [device.id for device in program.local_devices()],
        "tree": written_or_traced(jax.tree.structure(compiled.out_info)),
        "lapack": lapack,
    }
    return MAGIC + json.dumps(head).encode() + b"\n" + content


def written_or_traced(tree: Structure) -> Any:
    """The structure of a result; `TRACED` if it has to be found by tracing."""
    try:
        return pytrees.written(tree)
    except Undescribed:
        return TRACED


def from_bytes(
    content: bytes, structure: Callable[[], Structure] | None = None
) -> Stored:
    """The program that `to_bytes` wrote.

    Args:
        content: the bytes.
        structure: finds the structure of the result, if that was not written.

    Raises:
        ValueError: the bytes are from another version.
    """
    if not content.startswith(MAGIC):
        raise ValueError("not a program")
    line, _, packed = content[len(MAGIC) :].partition(b"\n")
    head = json.loads(line)
    if head["lapack"]:
        _initialise_lapack()
    inputs = [_sharding(place) for place in head["inputs"]]
    outputs = [(tuple(shape), _sharding(place)) for shape, place in head["outputs"]]
    tree = None
    if head["tree"] != TRACED:
        tree = pytrees.read(head["tree"])
    elif structure is not None:
        tree = structure()
    devices = _devices(head["devices"])
    client: Any = devices[0].client
    program = client.deserialize_executable(
        zlib.decompress(packed), DeviceList(devices)
    )
    return Stored(program, inputs, outputs, tree)


def _devices(ids: Sequence[int]) -> tuple[Any, ...]:
    """Raises a `ValueError` if this process lacks one of them."""
    known = {device.id: device for device in jax.local_devices()}
    if missing := [number for number in ids if number not in known]:
        raise ValueError(f"no device {missing[0]}")
    return tuple(known[number] for number in ids)


def _sharding(text: Any) -> Any:
    """The inverse of `description.sharding`."""
    if text[0] == "device":
        return SingleDeviceSharding(_devices(text[2:])[0])
    _, axes, _, ids, spec = text
    names, sizes = [name for name, _ in axes], [size for _, size in axes]
    mesh = Mesh(np.array(_devices(ids)).reshape(sizes), names)
    parts = [tuple(axis) if isinstance(axis, list) else axis for axis in spec]
    return NamedSharding(mesh, PartitionSpec(*parts))


def _initialise_lapack() -> None:
    """Let JAX look up LAPACK's functions, as it does when it lowers a call of them."""
    matrix = jax.ShapeDtypeStruct((1, 1), jnp.float32)
    jax.jit(jnp.linalg.qr).lower(matrix)
