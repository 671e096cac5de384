"""In-place operations as new values, while a model is captured.

A graph of integers has no memory that is written twice. So an operation that writes into a tensor becomes one that
returns a new tensor, and whatever is read later of the old tensor, of its views, and of the tensors that it is a view
of, is read from the new one. (torch.export calls this functionalisation.) Which tensors share memory is seen on the
example's own tensors. What cannot be followed is refused.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from irnn_tvm.errors import UnsupportedModuleError

OPERATORS: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ifloordiv: operator.floordiv,
    operator.imod: operator.mod,
    operator.ipow: operator.pow,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ixor: operator.xor,
    operator.ilshift: operator.lshift,
    operator.irshift: operator.rshift,
}
# Methods with the name of an in-place one that write no values.
NOT_WRITING = {"requires_grad_": "requires_grad_", "detach_": "detach", "share_memory_": "detach"}
# They change what a tensor is, not what its memory holds; other views of it keep their shape.
RESHAPING = frozenset(
    ("squeeze_", "unsqueeze_", "transpose_", "swapaxes_", "swapdims_", "t_", "resize_", "resize_as_", "set_",
     "as_strided_", "rename_", "sparse_resize_")
)  # fmt: skip
SWAPS = ("transpose", "swapaxes", "swapdims")
SAME_ORDER = (
    "view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "view_as", "reshape_as", "contiguous",
    "Flatten", "Unflatten", "ravel",
)  # fmt: skip
Make = Callable[[str, Any, tuple[Any, ...], dict[str, Any]], fx.Node]


@dataclass(frozen=True)
class Call:
    """An operation without its effect on memory. written: the tensor that its result is the new value of, or None."""

    kind: str
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    written: fx.Node | None = None


def functional(
    kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], module: nn.Module | None
) -> Call:
    """The operation that returns what this one writes. Raises UnsupportedModuleError where there is none."""
    if kind == "call_module":
        writes = getattr(module, "inplace", False) and not isinstance(module, nn.modules.dropout._DropoutNd)
        given = args[0] if args else kwargs.get("input")
        return Call(kind, target, args, kwargs, _tensor(given, type(module).__name__) if writes else None)
    if kind == "call_method":
        return _functional_method(str(target), args, kwargs)
    if kind == "call_function":
        return _functional_function(target, args, kwargs)
    return Call(kind, target, args, kwargs)


def _functional_method(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    if not name.endswith("_") or name.endswith("__"):
        return _without_out(Call("call_method", name, args, kwargs), f"Tensor.{name}")
    if name in NOT_WRITING:
        rest = args if name == "requires_grad_" else args[:1]
        return Call("call_method", NOT_WRITING[name], rest, kwargs if name == "requires_grad_" else {})
    if name in RESHAPING:
        raise UnsupportedModuleError(
            f"Tensor.{name} changes the shape of a tensor that has other names; use the method that returns a tensor"
        )
    base = _tensor(args[0], f"Tensor.{name}")
    if name == "copy_":
        return _store(base, args[1] if len(args) > 1 else kwargs["src"])
    if name in ("fill_", "zero_"):
        return _store(base, 0.0 if name == "zero_" else args[1] if len(args) > 1 else kwargs["value"])
    if not hasattr(Tensor, name[:-1]):
        raise UnsupportedModuleError(
            f"Tensor.{name} writes in place and has no version that returns a tensor"
        )
    return Call("call_method", name[:-1], args, kwargs, base)


def _functional_function(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    name = getattr(target, "__name__", "")
    if target in OPERATORS:
        return Call("call_function", OPERATORS[target], args, kwargs, _tensor(args[0], name))
    if name.endswith("_") and not name.endswith("__") and target not in OPERATORS.values():
        twin = getattr(torch, name[:-1], None) or getattr(F, name[:-1], None)
        if twin is None or name in RESHAPING:
            raise UnsupportedModuleError(f"{name} writes in place and has no version that returns a tensor")
        return Call("call_function", twin, args, kwargs, _tensor(args[0] if args else kwargs["input"], name))
    if inspect.isfunction(target):
        try:
            bound = inspect.signature(target).bind(*args, **kwargs)
        except (TypeError, ValueError):
            bound = None
        if bound is not None and bound.arguments.get("inplace"):
            base = _tensor(next(iter(bound.arguments.values())), name)
            bound.arguments["inplace"] = False
            writes = "dropout" not in name or bound.arguments.get("training", True)
            return Call("call_function", target, bound.args, bound.kwargs, base if writes else None)
    return _without_out(Call("call_function", target, args, kwargs), name)


def _without_out(call: Call, name: str) -> Call:
    """The call without `out=`, whose tensor gets its result."""
    out = call.kwargs.get("out")
    if out is None:
        return call
    rest = {k: v for k, v in call.kwargs.items() if k != "out"}
    return Call(call.kind, call.target, call.args, rest, _tensor(out, name))


def _store(base: fx.Node, value: Any) -> Call:
    """The call whose result has the shape of `base` and the values of `value`, a tensor or a number."""
    if isinstance(value, fx.Node) and isinstance(value.meta["value"], Tensor):
        have, want = value.meta["value"], base.meta["value"]
        if have.dtype != want.dtype:
            raise UnsupportedModuleError(
                f"a {have.dtype} tensor is written into one of {want.dtype}; convert it first"
            )
        if have.shape == want.shape:
            return Call("call_method", "clone", (value,), {}, base)
        return Call("call_method", "expand_as", (value, base), {}, base)
    return Call("call_function", torch.full_like, (base, value), {}, base)


def _tensor(value: Any, name: str) -> fx.Node:
    if isinstance(value, fx.Node) and isinstance(value.meta["value"], Tensor):
        return value
    raise UnsupportedModuleError(f"{name} writes into something that is not one tensor of the model")


class Memory:
    """Which nodes of a graph are tensors that share memory, and what their values are after every write.

    make: adds an operation to the graph; it calls `register` for the new node. layer: the module of a name.
    """

    def __init__(self, make: Make, layer: Callable[[str], nn.Module]) -> None:
        self._make = make
        self._layer = layer
        self.allowed: set[str] = set()  # buffers that hold a state of the model, which may be written
        self.written: dict[str, fx.Node] = {}  # those that were
        self._tensors: dict[fx.Node, fx.Node] = {}  # newer value -> the tensor whose value it is
        self._views: dict[
            fx.Node, tuple[fx.Node, fx.Node]
        ] = {}  # view -> tensor, and the tensor's node that it read
        self._values: dict[
            fx.Node, tuple[int, fx.Node]
        ] = {}  # tensor -> its newest known value, and of which write
        self._writes: dict[fx.Node, int] = {}  # tensor that is no view -> how often its memory was written

    def register(self, node: fx.Node) -> None:
        """Finds out whether a new node is a view of a tensor that it reads."""
        storage = _storage(node.meta.get("value"))
        if storage is None:
            return
        for read in node.all_input_nodes:
            if _storage(read.meta.get("value")) == storage:
                self._views[node] = self._tensors.get(read, read), read
                self._values[node] = self._writes.get(self._root(node), 0), node
                return

    def current(self, node: fx.Node) -> fx.Node:
        """The node that holds now what `node` held when it was made."""
        tensor = self._tensors.get(node, node)
        writes = self._writes.get(self._root(tensor), 0)
        if not writes:
            return node
        known, value = self._values.get(tensor, (0, tensor))
        if known != writes:
            source, read = self._views[tensor]
            newest = self.current(source)
            args, kwargs = fx.map_arg((tensor.args, tensor.kwargs), lambda n: newest if n is read else n)
            value = self._make(tensor.op, tensor.target, args, kwargs)
            value.meta["place"] = value.meta.get("place") or tensor.meta.get("place")
            self._is_now(tensor, value, writes)
        return value

    def write(self, written: fx.Node, value: fx.Node) -> None:
        """From now on the memory of `written` holds `value`."""
        old, new = written.meta["value"], value.meta["value"]
        if not isinstance(new, Tensor) or old.shape != new.shape or old.dtype != new.dtype:
            raise UnsupportedModuleError(
                f"{_name(value)} writes a result of another shape or type than the tensor that it writes into"
            )
        if old.numel() == 0:
            raise UnsupportedModuleError(
                f"{_name(value)} writes into a part that is empty in the first batch, so that it is not known what "
                "happens in others; show a longer first batch"
            )
        tensor = self._tensors.get(written, written)
        root = self._root(tensor)
        if root.op == "get_attr" and root.target in self.allowed:
            self.written[str(root.target)] = root
        elif root.op == "get_attr":
            raise UnsupportedModuleError(
                f"the forward pass writes into {root.target!r}: a model that changes its own parameters or buffers has "
                "no integer version; pass a state as an input and return its next value"
            )
        levels = [(tensor, value)]
        while tensor in self._views:
            source, read = self._views[tensor]
            if not isinstance(
                source.meta["value"], Tensor
            ):  # one of the parts that chunk, split or unbind return
                whole, taken = self._views[source]
                value = self._join(source, taken, tensor, self.current(whole), value)
                tensor = whole
            else:
                whole_now = self.current(source)
                made = self._put_back(tensor, read, whole_now, value)
                self._check(tensor, read, whole_now, value, made)
                tensor, value = source, made
            levels.append((tensor, value))
        writes = self._writes.get(root, 0) + 1
        self._writes[root] = writes
        for tensor, value in levels:
            self._is_now(tensor, value, writes)

    def is_view(self, node: fx.Node) -> bool:
        """Whether the node shares the memory of a tensor that it reads."""
        return node in self._views

    def _is_now(self, tensor: fx.Node, value: fx.Node, writes: int) -> None:
        if value is not tensor:
            self._tensors[value] = tensor
            self._views.pop(value, None)
        self._values[tensor] = writes, value

    def _root(self, node: fx.Node) -> fx.Node:
        tensor = self._tensors.get(node, node)
        while tensor in self._views:
            tensor = self._views[tensor][0]
        return tensor

    def _put_back(self, view: fx.Node, read: fx.Node, whole: fx.Node, part: fx.Node) -> fx.Node:
        """The tensor that `view` was taken of, with `part` in its place. read: what the view's operation read."""
        name = type(self._layer(str(view.target))).__name__ if view.op == "call_module" else _name(view)
        now, before = view.meta["value"], read.meta["value"]
        takes = name in ("getitem", "select", "narrow")
        same = now.shape == before.shape and now.stride() == before.stride()
        if same and now.storage_offset() == before.storage_offset() and not takes:
            return part
        if name in SAME_ORDER and now.numel() == before.numel():
            return self._make("call_method", "reshape_as", (part, whole), {})
        rest = [*view.args[1:], *view.kwargs.values()]
        rank = before.dim()
        if name in SWAPS and len(rest) == 2:
            return self._make("call_method", "transpose", (part, *rest), {})
        if name in ("t", "getattr") and rank == 2:
            return self._make("call_method", "transpose", (part, 0, 1), {})
        if name == "getattr" and rest[0] in ("mT", "mH"):
            return self._make("call_method", "transpose", (part, rank - 2, rank - 1), {})
        if name == "permute":
            dims: Any = rest[0] if isinstance(rest[0], tuple | list) else rest
            order = [int(d) % rank for d in dims]
            return self._make("call_method", "permute", (part, *(order.index(d) for d in range(rank))), {})
        if name in ("movedim", "moveaxis") and len(rest) == 2:
            return self._make("call_method", "movedim", (part, rest[1], rest[0]), {})
        key = _key(name, rest, rank)
        if key is None:
            raise _refusal(view)
        if any(not isinstance(k, slice) for k in key):  # an index drops its axis: bring it back
            full = tuple(k if isinstance(k, slice) else _row(k) for k in key if k is not None)
            inner = self._make("call_function", operator.getitem, (whole, full), {})
            part = self._make("call_method", "reshape_as", (part, inner), {})
            key = full
        region = [(axis, k) for axis, k in enumerate(key) if k.start not in (None, 0) or k.stop is not None]
        return self._put(whole, region, part)

    def _put(self, whole: fx.Node, region: list[tuple[int, slice]], part: fx.Node) -> fx.Node:
        if not region:
            return part
        (axis, key), rest = region[0], region[1:]
        bounds = []
        if key.start not in (None, 0):
            bounds.append(slice(None, key.start))
        if key.stop is not None:
            bounds.append(slice(key.stop, None))
        size = whole.meta["value"].shape[axis]
        if any(_empty(bound, size) for bound in bounds):
            # What is written reaches an end of the axis in the first batch, not in a longer one: fix its size.
            part = self._make("call_method", "unflatten", (part, axis, (part.meta["value"].shape[axis],)), {})
            whole = self._make("call_method", "unflatten", (whole, axis, (size,)), {})
        if rest:
            part = self._put(self._slice(whole, axis, key), rest, part)
        parts = [part]
        for bound in bounds:
            if not _empty(bound, size):
                parts.insert(0 if bound.start is None else len(parts), self._slice(whole, axis, bound))
        if len(parts) == 1:
            # So that the tensor whose size is fixed stays in the graph.
            return self._make("call_method", "view_as", (part, whole), {})
        return self._make("call_function", torch.cat, (parts, axis), {})

    def _slice(self, whole: fx.Node, axis: int, key: slice) -> fx.Node:
        return self._make("call_function", operator.getitem, (whole, (*[slice(None)] * axis, key)), {})

    def _join(self, parts: fx.Node, read: fx.Node, part: fx.Node, whole: fx.Node, value: fx.Node) -> fx.Node:
        """The tensor that chunk, split or unbind took apart, with another value for one part."""
        name, index = _name(parts), part.args[1]
        rest = [*parts.args[1:], *parts.kwargs.values()]
        if name not in ("chunk", "split", "unbind", "tensor_split") or not isinstance(index, int):
            raise _refusal(part)
        if name == "unbind":
            dim = parts.kwargs.get("dim", parts.args[1] if len(parts.args) > 1 else 0)
        else:
            dim = parts.kwargs.get("dim", rest[1] if len(parts.args) > 2 else 0)
        args, kwargs = fx.map_arg((parts.args, parts.kwargs), lambda n: whole if n is read else n)
        again = self._make(parts.op, parts.target, args, kwargs)
        count = len(again.meta["value"])
        pieces = [
            value if i == index % count else self._make("call_function", operator.getitem, (again, i), {})
            for i in range(count)
        ]
        return self._make("call_function", torch.stack if name == "unbind" else torch.cat, (pieces, dim), {})

    def _check(self, view: fx.Node, read: fx.Node, whole: fx.Node, part: fx.Node, made: fx.Node) -> None:
        """Compares with what the write does to a real tensor."""
        memory = whole.meta["value"].clone(memory_format=torch.preserve_format)
        args, kwargs = fx.map_arg(
            (view.args, view.kwargs), lambda n: memory if n is read else n.meta["value"]
        )
        if view.op == "call_method":
            window = getattr(args[0], str(view.target))(*args[1:], **kwargs)
        elif view.op == "call_function":
            window = view.target(*args, **kwargs)  # type: ignore[operator]
        else:
            return
        if isinstance(window, Tensor) and _storage(window) == _storage(memory):
            window.copy_(part.meta["value"])
            if not torch.equal(memory, made.meta["value"]):
                raise _refusal(view)


def _key(name: str, rest: list[Any], rank: int) -> tuple[Any, ...] | None:
    """Slices, indices and new axes of an operation that takes a part of a tensor; None for another operation."""
    if name == "select":
        return (*[slice(None)] * (int(rest[0]) % rank), rest[1])
    if name == "narrow" and all(isinstance(v, int) for v in rest) and rest[1] >= 0:
        return (*[slice(None)] * (rest[0] % rank), slice(rest[1], rest[1] + rest[2]))
    if name != "getitem":
        return None
    key = rest[0] if isinstance(rest[0], tuple) else (rest[0],)
    if any(k is Ellipsis for k in key):
        at = next(i for i, k in enumerate(key) if k is Ellipsis)
        missing = rank - sum(k is not None and k is not Ellipsis for k in key)
        key = (*key[:at], *[slice(None)] * missing, *key[at + 1 :])
    for k in key:
        known = (
            k is None or isinstance(k, slice) or (isinstance(k, int | fx.Node) and not isinstance(k, bool))
        )
        if not known or (isinstance(k, slice) and k.step not in (None, 1)):
            return None
    return tuple(key)


def _empty(key: slice, size: int) -> bool:
    """Whether the slice of an axis of `size` in the first batch has no element."""
    bounds = [b.meta["value"] if isinstance(b, fx.Node) else b for b in (key.start, key.stop)]
    return not range(size)[slice(*bounds)]


def _row(index: Any) -> slice:
    """The slice that holds one index."""
    if isinstance(index, int):
        return slice(index, index + 1 if index != -1 else None)
    raise UnsupportedModuleError(
        "an element whose index depends on sizes is written in place; use slices with such bounds, or integers"
    )


def _refusal(view: fx.Node) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        f"a view that {_name(view)}{_key_text(view)} made is written in place, which cannot be followed; supported "
        "are views by integers and slices without a step, reshape, transpose, permute, chunk, split and unbind. Use "
        "operations that return a new tensor"
    )


def _key_text(view: fx.Node) -> str:
    return f"({', '.join(map(str, view.args[1:]))})" if len(view.args) > 1 else ""


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _storage(value: Any) -> int | None:
    """Where the memory of a tensor, or of all tensors of a tuple, begins."""
    if isinstance(value, Tensor):
        if value.numel() == 0 or value.layout != torch.strided:
            return None
        return value.untyped_storage().data_ptr()
    if isinstance(value, tuple | list) and value:
        found = {_storage(v) for v in value}
        return found.pop() if len(found) == 1 else None
    return None
