"""The static values of a program, as plain values, the same in every process."""

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding

from rnnjax.store.source import PACKAGE


LIBRARIES = "jax", "jaxlib", "flax", "optax", "numpy", "builtins"
"""Packages whose classes and functions are described by their names alone."""


class Undescribed(ValueError):
    """A value whose description could be the same for two different programs."""


class Description:
    """Describes values, and collects the modules of this package that they name.

    Attributes:
        modules: modules whose source decides what the described classes and functions
            do.
    """

    def __init__(self) -> None:
        self.modules: set[str] = set()

    def of(self, value: Any) -> Any:
        """A value as nested lists of plain values.

        Classes and functions are named. Those of this package add to `modules`.

        Raises:
            Undescribed: the value is or contains something that its name does not
                determine, such as a function defined inside another, or a class from a
                notebook.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return ["float", value.hex()]
        if isinstance(value, np.dtype):
            return ["dtype", str(value)]
        if isinstance(value, np.ndarray | np.generic):
            content = np.ascontiguousarray(value).tobytes()
            sha = hashlib.sha256(content).hexdigest()
            return ["array", str(value.dtype), list(value.shape), sha]
        if isinstance(value, Mesh):
            return ["mesh", *_mesh(value)]
        if isinstance(value, functools.partial):
            return ["partial", *map(self.of, (value.func, value.args, value.keywords))]
        if isinstance(value, type) or not dataclasses.is_dataclass(value):
            return self._collection(value)
        fields = [field.name for field in dataclasses.fields(value)]
        pairs = [[name, self.of(getattr(value, name, None))] for name in fields]
        return ["record", self.name_of(type(value)), pairs]

    def _collection(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            pairs = [[self.of(key), self.of(entry)] for key, entry in value.items()]
            return ["mapping", *sorted(pairs, key=json.dumps)]
        if isinstance(value, Set):
            return ["set", *sorted(map(self.of, value), key=json.dumps)]
        if isinstance(value, list | tuple):
            return ["list", self.name_of(type(value)), *map(self.of, value)]
        return ["thing", self.name_of(value)]

    def name_of(self, thing: Any) -> str:
        """The name of a class or function under which its module has it.

        Raises:
            Undescribed: its module does not have it under that name, or belongs neither
                to this package nor to one of `LIBRARIES`.
        """
        module = getattr(thing, "__module__", None)
        name = getattr(thing, "__qualname__", None)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Undescribed(f"a {type(thing).__qualname__}")
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        found = getattr(found, "function", found)  # of a `KeptFunction`
        if found is not thing or module.partition(".")[0] not in (PACKAGE, *LIBRARIES):
            raise Undescribed(f"{module}.{name}")
        bases = thing.__mro__ if isinstance(thing, type) else (thing,)
        names = {base.__module__ for base in bases}
        self.modules.update(name for name in names if name.startswith(f"{PACKAGE}."))
        return f"{module}:{name}"


def _mesh(mesh: Mesh) -> list[Any]:
    devices = mesh.devices.flatten().tolist()
    axes = [list(axis) for axis in mesh.shape.items()]
    return [axes, devices[0].platform, [device.id for device in devices]]


def sharding(value: NamedSharding | SingleDeviceSharding | Any) -> list[Any]:
    """How an array is spread over devices, as plain values.

    Raises:
        Undescribed: in any other way than over a mesh, or on one device.
    """
    if isinstance(value, SingleDeviceSharding):
        (device,) = value.device_set
        return ["device", device.platform, device.id]
    if not isinstance(value, NamedSharding):
        raise Undescribed(f"a {type(value).__qualname__}")
    mesh = value.mesh
    if not isinstance(mesh, Mesh):
        raise Undescribed("an abstract mesh")
    spec = [list(axes) if isinstance(axes, tuple) else axes for axes in value.spec]
    return ["mesh", *_mesh(mesh), spec]
