"""Emitter: builds the integer graph, node by node, in the order of the captured one."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

import irnn_tvm.ops  # noqa: F401  registers torch.ops.irnn
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.slots import Slot, Value

DTYPES = {8: torch.int8, 16: torch.int16}


@dataclass(frozen=True)
class Requantization:
    """A requantize node on the way into a layer, for the report."""

    layer: str
    slot: Slot
    node: fx.Node


class Emitter:
    """graph: the integer graph. root: owner of its layers and constants. env: integer node(s) of each
    captured node.
    """

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.env: dict[Any, Any] = {}
        self.requantizations: list[Requantization] = []
        self.reference: fx.Node | None = None
        self._requantized: dict[tuple[fx.Node, QParams], fx.Node] = {}

    def placeholder(self, node: fx.Node) -> fx.Node:
        """An input of the integer graph."""
        made = self.graph.placeholder(str(node.target))
        self.reference = self.reference or made
        self.env[node] = made
        return made

    def map(self, argument: Any) -> Any:
        """A captured argument with integer nodes in place of captured ones."""
        return fx.map_arg(argument, lambda node: self.env[node])

    def call(self, name: str, *args: Any) -> fx.Node:
        """torch.ops.irnn.<name>."""
        return self.graph.call_function(getattr(torch.ops.irnn, name).default, args)

    def copy(self, node: fx.Node) -> fx.Node:
        """The same operation on the integer counterparts of its operands."""
        return self.graph.create_node(
            node.op, node.target, self.map(node.args), self.map(node.kwargs), node.name
        )

    def copy_movement(self, node: fx.Node, module: nn.Module | None) -> fx.Node:
        """`copy` for data movement, where a layer (Flatten) becomes the function that it wraps."""
        if isinstance(module, nn.Flatten):
            return self.graph.call_method(
                "flatten", (self.map(node.args[0]), module.start_dim, module.end_dim)
            )
        if isinstance(module, nn.Unflatten):
            return self.graph.call_method(
                "unflatten", (self.map(node.args[0]), module.dim, module.unflattened_size)
            )
        return self.copy(node)

    def unpack(self, node: Any, value: Value) -> Any:
        """One getitem node per element where the abstract value is a tuple."""
        if isinstance(value, tuple | list):
            return tuple(self.unpack(self.item(node, i), v) for i, v in enumerate(value))
        return node

    def item(self, node: Any, index: int) -> fx.Node:
        return self.graph.call_function(operator.getitem, (node, index))

    def size(self, node: Any, dim: int) -> fx.Node:
        return self.graph.call_method("size", (node, dim))

    def full(self, sizes: list[Any], value: int, dtype: str) -> fx.Node:
        """A tensor of one integer value, on the device of the model's first input."""
        assert self.reference is not None
        return self.graph.call_method(
            "new_full", (self.reference, sizes, value), {"dtype": getattr(torch, dtype)}
        )

    def to(self, node: fx.Node, have: QParams, slot: Slot, layer: str) -> fx.Node:
        """The tensor with the parameters of `slot`, an operand of `layer`; free when they are equal already."""
        want = slot.qparams
        if have == want:
            return node
        key = (node, want)
        if key not in self._requantized:
            (mult,), shift = bounded_multiplier([have.scale / want.scale], [1 << 17], layer)
            made = self.call(
                "requantize", node, have.zero_point, int(mult[0]), shift, want.zero_point, want.bits
            )
            self._requantized[key] = made
            self.requantizations.append(Requantization(layer, slot, made))
        return self._requantized[key]

    def constant(self, name: str, value: Tensor, q: QParams) -> fx.Node:
        """A quantized constant tensor."""
        integers = np.asarray(q.quantize(np.asarray(value.detach().double().cpu().numpy())))
        return self.buffer(name, torch.from_numpy(integers).to(DTYPES[q.bits]))

    def buffer(self, name: str, value: Tensor) -> fx.Node:
        """A constant tensor as it is."""
        unique = self._unique(f"{name.replace('.', '_')}_constant")
        self.root.register_buffer(unique, value.detach().clone().contiguous())
        return self.graph.get_attr(unique)

    def layer(self, path: str, module: nn.Module, *args: Any) -> fx.Node:
        """A call of an integer layer, registered under the name of the float layer that it stands for."""
        return self.graph.call_module(self.register(path, module), args)

    def register(self, path: str, module: nn.Module) -> str:
        """Adds a layer to the root, in containers that mirror the float model's. Returns its name."""
        # The graph becomes Python code, in which `self.in` would be no name.
        *parents, leaf = (f"{part}_" if iskeyword(part) else part for part in path.split("."))
        owner = self.root
        done: list[str] = []
        for part in parents:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
            done.append(part)
        name, n = leaf, 0
        while hasattr(owner, name):
            n += 1
            name = f"{leaf}_{n}"
        owner.add_module(name, module)
        return ".".join([*done, name])

    def _unique(self, name: str) -> str:
        candidate, n = name, 0
        while hasattr(self.root, candidate):
            n += 1
            candidate = f"{name}_{n}"
        return candidate

    def output(self, structure: Any) -> None:
        """Ends the graph."""
        self.graph.output(self.map(structure))
