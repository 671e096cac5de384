"""Data movement: the same torch operation on the integers, with the quantization parameters of its input."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Index, Mask, Slot, Static, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

METHODS = (
    "permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "view", "view_as", "reshape",
    "reshape_as", "flatten", "unflatten", "unsqueeze", "squeeze", "select", "narrow", "chunk", "split",
    "unbind",
    "tensor_split", "contiguous", "clone", "detach", "expand", "expand_as", "repeat", "tile", "repeat_interleave",
    "flip",
)  # fmt: skip
FUNCTIONS = (
    torch.permute, torch.transpose, torch.t, torch.swapaxes, torch.swapdims, torch.movedim, torch.moveaxis,
    torch.reshape, torch.flatten, torch.unflatten, torch.unsqueeze, torch.squeeze, torch.select, torch.narrow,
    torch.chunk, torch.split, torch.unbind, torch.tensor_split, torch.clone, torch.detach, torch.flip,
    torch.tile, torch.repeat_interleave,
)  # fmt: skip
PARTS = ("values", "indices")  # names of what max and topk return
NOTHING = ("to", "float", "double", "cpu", "cuda", "type_as", "dropout", "requires_grad_", "contiguous")


@Registry.register(modules=(nn.Flatten, nn.Unflatten), functions=FUNCTIONS, methods=METHODS)
class MovementOp(Op):
    """permute, view, slice ...; results that are tuples share one slot."""

    kind = "movement"

    def plan(self) -> Value:
        source = self.planner.value(self.argument(0, "input"))
        if not isinstance(source, Slot | Index | Mask):
            raise self.refuse("it is applied to something that is not a tensor of the model")
        if any(isinstance(a, torch.dtype) for a in (*self.node.args, *self.node.kwargs.values())):
            raise self.refuse("memory read as another type has no integer version")
        if self._name == "repeat_interleave":
            repeats = self.argument(1, "repeats")
            if isinstance(repeats, fx.Node) and isinstance(repeats.meta["value"], Tensor):
                raise self.refuse("one number of repeats goes for all, not a tensor of them")
        if isinstance(source, Slot) and isinstance(self.node.meta["value"], Tensor):
            keep_tail(source, self.node)
        return _shaped(self.node.meta["value"], source)

    @property
    def _name(self) -> str:
        return self.planner.describe(self.node).removeprefix("Tensor.").removeprefix("torch.")

    def emit(self, emitter: Emitter) -> Any:
        node = self._in_basic_terms(emitter) or emitter.copy_movement(self.node, self.module)
        return emitter.unpack(node, self.value)

    def _in_basic_terms(self, emitter: Emitter) -> fx.Node | None:
        """narrow, repeat and .mT as slices, copies and transpositions, which is all that a compiler needs to know."""
        name = self._name
        source = self.argument(0, "input")
        rank = source.meta["value"].dim()
        x = emitter.env[source]
        if name in ("view", "view_as"):
            # Integers may lie in memory in another order than the floats did (`contiguous` copies nothing here).
            reshaped = "reshape" if name == "view" else "reshape_as"
            rest = emitter.map(self.node.args[1:])
            return emitter.graph.call_method(reshaped, (x, *rest), emitter.map(self.node.kwargs))
        if name == "getattr" and self.node.args[1] == "data":
            return emitter.graph.call_method("detach", (x,))
        if name == "narrow":
            dim, start, length = emitter.map(
                (self.argument(1, "dim"), self.argument(2, "start"), self.argument(3, "length"))
            )
            if all(isinstance(v, int) for v in (dim, start, length)) and start >= 0:
                key = (*[slice(None)] * (dim % rank), slice(start, start + length))
                return emitter.graph.call_function(operator.getitem, (x, key))
        elif name in ("repeat", "tile"):
            return self._repeated(emitter, x, rank)
        elif name == "repeat_interleave":
            dim = self.argument(2, "dim")
            x = emitter.graph.call_method("flatten", (x,)) if dim is None else x
            axis, rank = (0, 1) if dim is None else (dim % rank, rank)
            return _times(emitter, x, rank, axis, emitter.map(self.argument(1, "repeats")), axis + 1)
        elif name in ("expand_as", "view_as", "reshape_as"):
            other = self.argument(1, "other")
            like = emitter.env[other]
            sizes = [emitter.size(like, axis) for axis in range(other.meta["value"].dim())]
            return emitter.graph.call_method("expand" if name == "expand_as" else "reshape", (x, *sizes))
        elif name == "getattr" and self.node.args[1] in ("T", "mT", "H", "mH") and rank == 2:
            return emitter.graph.call_method("transpose", (x, 0, 1))
        elif name == "getattr" and self.node.args[1] in ("mT", "mH"):
            return emitter.graph.call_method("transpose", (x, rank - 2, rank - 1))
        elif name == "getattr" and self.node.args[1] == "T":
            return emitter.graph.call_method("permute", (x, *range(rank - 1, -1, -1)))
        return None

    def _repeated(self, emitter: Emitter, x: fx.Node, rank: int) -> fx.Node:
        """repeat and tile, of run-time numbers too; tile may name the last axes only."""
        given: Any = self.node.args[1:] or self.node.kwargs.get("repeats", self.node.kwargs.get("dims"))
        counts = list(emitter.map(given[0] if isinstance(given[0], tuple | list) else given))
        counts = [1] * (rank - len(counts)) + counts
        for _ in range(len(counts) - rank):
            x = emitter.graph.call_method("unsqueeze", (x, 0))
        for axis, count in enumerate(counts):
            if not isinstance(count, int):
                x = _times(emitter, x, len(counts), axis, count, axis)
            elif count > 1:
                x = emitter.call("concat", [x] * count, axis)
        return x


def _times(emitter: Emitter, x: fx.Node, rank: int, axis: int, count: Any, at: int) -> fx.Node:
    """x with an axis `count` times as long: all of it over and over (at = axis), or each row (at = axis + 1)."""
    sizes: list[Any] = [-1] * (rank + 1)
    sizes[at] = count
    x = emitter.graph.call_method("unsqueeze", (x, at))
    x = emitter.graph.call_method("expand", (x, *sizes))
    return emitter.graph.call_method("flatten", (x, axis, axis + 1))


@Registry.register(
    modules=(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    functions=(nn.functional.dropout, nn.functional.dropout1d, nn.functional.alpha_dropout, torch.dropout),
    methods=NOTHING,
)
class NothingOp(Op):
    """Dropout in eval mode, identity, moves between devices and float types."""

    kind = "identity"

    def plan(self) -> Value:
        source = self.planner.value(self.argument(0, "input"))
        if not isinstance(source, Slot | Index):
            raise self.refuse("it is applied to something that is not a tensor of the model")
        if self.module is None and "dropout" in self.planner.describe(self.node) and self._trains():
            raise self.refuse("dropout with training=True is random; pass training=self.training")
        if isinstance(source, Slot) != self.node.meta["value"].is_floating_point():
            raise self.refuse("conversions between float and integer tensors have no integer version")
        if isinstance(source, Slot):
            keep_tail(source, self.node)
        return source

    def _trains(self) -> bool:
        default = self.node.target is not torch.dropout
        return (
            bool(self.argument(2, "train" if not default else "training", default))
            and self.argument(1, "p", 0.5) > 0
        )

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.module is None and "dropout" in self.planner.describe(self.node):
            # Captured in eval mode, where training=self.training was False; the twin simulates in training mode only.
            p = float(self.argument(1, "p", 0.5))
            drop: Any = self.node.target
            return drop(args[0] if args else kwargs["input"], p, True)
        return super().simulate(sim, args, kwargs)

    def emit(self, emitter: Emitter) -> Any:
        return emitter.env[self.argument(0, "input")]


@Registry.register(functions=(operator.getitem,))
class GetItemOp(Op):
    """An element of a tuple of results, or a slice of a tensor."""

    kind = "movement"

    def plan(self) -> Value:
        source = self.planner.value(self.node.args[0])
        key: Any = self.node.args[1]
        if isinstance(source, tuple | list | dict):
            return source[key]
        if not isinstance(source, Slot | Index | Mask):
            raise self.refuse("indexing of something that is not a tensor of the model")
        self._check(key)
        if isinstance(source, Slot):
            keep_tail(source, self.node)
        return source

    def _check(self, key: Any) -> None:
        if isinstance(key, tuple):
            for part in key:
                self._check(part)
        elif isinstance(key, slice):
            for bound in (key.start, key.stop, key.step):
                self._check(bound)
        elif isinstance(key, fx.Node):
            if not isinstance(self.planner.values[key], Static):
                raise self.refuse("indexing with a tensor has no integer version; use integers and slices")
        elif not (key is None or key is Ellipsis or isinstance(key, int)) or isinstance(key, bool):
            raise self.refuse(f"indexing with {key!r} has no integer version; use integers and slices")

    def emit(self, emitter: Emitter) -> Any:
        source = self.planner.value(self.node.args[0])
        if isinstance(source, tuple | list | dict):
            key: Any = self.node.args[1]
            return emitter.env[self.node.args[0]][key]
        return emitter.copy(self.node)


@Registry.register(functions=(getattr,))
class AttributeOp(MovementOp):
    """x.T, x.mT and x.data; values and indices of a tuple of results; x.shape and the like are sizes."""

    def plan(self) -> Value:
        source = self.planner.value(self.node.args[0])
        if isinstance(source, tuple) and self.node.args[1] in PARTS:
            return source[PARTS.index(str(self.node.args[1]))]
        if self.node.args[1] not in ("T", "mT", "H", "mH", "data"):
            raise self.refuse(f"attribute {self.node.args[1]!r} has no integer version")
        return super().plan()

    def emit(self, emitter: Emitter) -> Any:
        if isinstance(self.planner.value(self.node.args[0]), tuple):
            return emitter.env[self.node.args[0]][PARTS.index(str(self.node.args[1]))]
        return super().emit(emitter)


def keep_tail(slot: Slot, node: fx.Node) -> None:
    """Lets a later clamp still move the slot's observation while there is a single chain of readers."""
    if slot.tail is not None and slot.tail in node.all_input_nodes and len(slot.tail.users) == 1:
        slot.tail = node


def _shaped(example: Any, slot: Slot | Index | Mask) -> Value:
    if isinstance(example, tuple | list):
        return tuple(_shaped(e, slot) for e in example)
    return slot
