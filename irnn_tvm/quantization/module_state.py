"""What a forward pass leaves in the user's model: it is taken back, and a state that lives there is found."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irnn_tvm.quantization.equality import same_tensor

CONTAINERS = (dict, list, set, deque, bytearray)
DEEP = 6  # containers in containers
TABLES = ("_parameters", "_buffers", "_modules")
OPAQUE = (ModuleType, type)


@dataclass
class _Kept:
    """One object that can change: its name for people, and a copy of its content. table: of a module's buffers and
    such, whose entries are the module's attributes. notes: of a hook or another function, which is no state."""

    name: str
    thing: Any
    content: Any
    table: bool = False
    notes: bool = False


class Snapshot:
    """Attributes, parameters, buffers and containers of a model as they are when it is made."""

    def __init__(self, model: nn.Module) -> None:
        self.kept: list[_Kept] = []
        self._seen: set[int] = set()
        self._in_function = False
        for name, module in model.named_modules():
            self._keep_object(name, module)

    def _keep_object(self, name: str, thing: Any) -> None:
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        attributes = vars(thing)
        self.kept.append(_Kept(name, thing, dict(attributes), notes=self._in_function))
        for key, value in attributes.items():
            table = isinstance(thing, nn.Module) and key in TABLES
            self._keep(name if table else _join(name, key), value, DEEP, table)

    def _keep(self, name: str, value: Any, depth: int, table: bool = False) -> None:
        if id(value) in self._seen or depth == 0 or isinstance(value, (*OPAQUE, nn.Module)):
            return
        notes = self._in_function
        if isinstance(value, FunctionType | MethodType | partial):
            self._seen.add(id(value))
            self._in_function = True
            for held in _held_by(value):
                self._keep(name, held, depth - 1)
            self._in_function = notes
            return
        if isinstance(value, Tensor):
            self._seen.add(id(value))
            with torch.no_grad():
                self.kept.append(_Kept(name, value, value.detach().clone(), notes=notes))
        elif isinstance(value, np.ndarray):
            self._seen.add(id(value))
            self.kept.append(_Kept(name, value, value.copy(), notes=notes))
        elif isinstance(value, CONTAINERS):
            self._seen.add(id(value))
            self.kept.append(_Kept(name, value, copy.copy(value), table, notes))
            items: Any = value.items() if isinstance(value, dict) else enumerate(value)
            if not isinstance(value, bytearray):
                for key, element in items:
                    self._keep(_join(name, key), element, depth - 1)
        elif isinstance(value, tuple):
            for key, element in enumerate(value):
                self._keep(_join(name, key), element, depth - 1)
        elif hasattr(value, "__dict__") and not type(value).__module__.startswith(("torch", "builtins")):
            self._keep_object(name, value)

    def changed(self) -> list[str]:
        """Names of what is not as it was: "cell.h", "cell.cache['key']" and so on, each once."""
        found: list[str] = []
        for kept in self.kept:
            if kept.notes:
                continue
            if isinstance(kept.content, Tensor | np.ndarray):
                if not _equal(kept.thing, kept.content):
                    found.append(kept.name)
            elif isinstance(kept.thing, CONTAINERS):
                if kept.table:
                    found += self._entries(kept)
                elif not _same_elements(kept.thing, kept.content):
                    found.append(kept.name)
            else:
                found += self._entries(_Kept(kept.name, vars(kept.thing), kept.content))
        return list(dict.fromkeys(found))

    def _entries(self, kept: _Kept) -> list[str]:
        now, before = kept.thing, kept.content
        names = [k for k in {**before, **now} if now.get(k, self) is not before.get(k, self)]
        return [_join(kept.name, k) for k in names if not _equal_values(now.get(k), before.get(k))]

    def restore(self) -> None:
        """Makes everything as it was; parts that did not change are not touched."""
        for kept in self.kept:
            if isinstance(kept.content, Tensor):
                if not _equal(kept.thing, kept.content):
                    with torch.no_grad():
                        kept.thing.data.copy_(kept.content)
            elif isinstance(kept.content, np.ndarray):
                kept.thing[...] = kept.content
            elif isinstance(kept.thing, CONTAINERS):
                if not _same_elements(kept.thing, kept.content):
                    kept.thing.clear()
                    thing: Any = kept.thing
                    (thing.update if isinstance(thing, dict | set) else thing.extend)(kept.content)
            else:
                attributes = vars(kept.thing)
                for key in [k for k in attributes if k not in kept.content]:
                    del attributes[key]
                attributes.update(kept.content)


@contextmanager
def preserved(model: nn.Module) -> Iterator[Snapshot]:
    """Takes back what happens to the model inside, however it ends."""
    snapshot = Snapshot(model)
    try:
        yield snapshot
    finally:
        snapshot.restore()


def read_before_written(model: nn.Module, names: list[str], run: Callable[[], object]) -> list[str]:
    """Those attributes of modules among `names` that run() reads before it assigns them: what an earlier call left.

    To write into a container or a tensor is to read the attribute that holds it. Parts of other objects count as read.
    """
    owners: dict[nn.Module, dict[str, str]] = {}
    modules = dict(model.named_modules())
    read = []
    for name in names:
        path, _, attribute = name.partition("[")[0].rpartition(".")
        if path in modules:
            owners.setdefault(modules[path], {})[attribute] = name
        else:
            read.append(name)
    first: dict[str, str] = {}
    classes = {module: type(module) for module in owners}
    try:
        for module, attributes in owners.items():
            module.__class__ = _recording(type(module), attributes, first)
        run()
    finally:
        for module, kind in classes.items():
            module.__class__ = kind
    return [name for name in names if name in read or first.get(name) == "read"]


def _recording(kind: Any, attributes: dict[str, str], first: dict[str, str]) -> type:
    """A subclass that notes how each attribute is used first."""

    def __getattribute__(self: Any, name: str) -> Any:
        if name in attributes:
            first.setdefault(attributes[name], "read")
        return kind.__getattribute__(self, name)

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if name in attributes:
            first.setdefault(attributes[name], "write")
        kind.__setattr__(self, name, value)

    methods = {"__getattribute__": __getattribute__, "__setattr__": __setattr__}
    return type(kind.__name__, (kind,), {**methods, "__module__": kind.__module__})


def _held_by(function: Any) -> list[Any]:
    """What a function remembers: variables that it closes over, its object, its arguments."""
    if isinstance(function, MethodType):
        return [function.__self__, function.__func__]
    if isinstance(function, partial):
        return [function.func, function.args, function.keywords]
    held: list[Any] = list(function.__defaults__ or ())
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # a variable that has no value yet
            continue
    return held


def _join(name: str, key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{name}.{key}" if name else key
    return f"{name}[{key!r}]"


def _same_elements(now: Any, before: Any) -> bool:
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        return list(now) == list(before) and all(now[k] is before[k] for k in now)
    if isinstance(now, set | bytearray):
        return bool(now == before)
    return all(a is b for a, b in zip(now, before, strict=True))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    return same_tensor(a, b)


def _equal_values(a: Any, b: Any) -> bool:
    """Whether two attributes that are not one object mean the same, as far as that can be told."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor | np.ndarray):
        return _equal(a, b)
    if isinstance(a, bool | int | float | str | bytes | type(None) | torch.dtype | torch.device | torch.Size):
        return bool(a == b)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_equal_values(x, y) for x, y in zip(a, b, strict=True))
    return False
