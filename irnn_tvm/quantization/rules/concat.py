"""torch.cat and torch.stack: operands of other parameters than the result's are requantized first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.slots import Index, Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


@Registry.register(functions=(torch.cat, torch.concat, torch.concatenate, torch.stack))
class ConcatOp(Op):
    """When all operands have equal parameters, as both directions of an RNN have, it is a plain copy."""

    kind = "concat"

    def plan(self) -> Value:
        listed = self.argument(0, "tensors")
        self.parts: list[Any] = []
        if isinstance(listed, fx.Node):
            values = self.planner.values[listed]
            if not isinstance(values, tuple | list):
                raise self.refuse("it needs a list or a tuple of tensors")
            self.parts = list(values)
        else:
            self.parts = [self.planner.value(part) for part in listed]
        if all(isinstance(part, Index) for part in self.parts):
            return Index(self.node.name)
        if not all(isinstance(part, Slot) for part in self.parts):
            raise self.refuse("it mixes float tensors with something else")
        zeros = [p for p in self.parts if p.is_constant and p.is_zero()]
        others = [p for p in self.parts if not (p.is_constant and p.is_zero())]
        if not others:
            return self.parts[0]
        slot = self.planner.new_slot(self.label, merged=others)
        slot.watch(self.node)
        for part in self.parts:
            part.add_use("concat")
        for part in zeros:
            part.want(slot)
        return slot

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        parts = args[0] if args else kwargs["tensors"]
        if isinstance(self.value, Slot):
            out = self.value
            parts = [sim.operand(p, s, out) for p, s in zip(parts, self.parts, strict=True)]
        dim = int(self.plain(self.argument(1, "dim", 0), "dim"))
        return torch.stack(parts, dim) if self.node.target is torch.stack else torch.cat(parts, dim)

    def emit(self, emitter: Emitter) -> Any:
        listed = self.argument(0, "tensors")
        nodes = list(emitter.env[listed]) if isinstance(listed, fx.Node) else [emitter.env[n] for n in listed]
        if isinstance(self.value, Slot):
            out = self.value
            nodes = [
                emitter.to(n, p.qparams, out, self.label) for n, p in zip(nodes, self.parts, strict=True)
            ]
        rank = self.node.meta["value"].dim()
        dim = int(self.plain(self.argument(1, "dim", 0), "dim"))
        dim = dim + rank if dim < 0 else dim
        if self.node.target is torch.stack:
            nodes = [emitter.graph.call_function(torch.unsqueeze, (n, dim)) for n in nodes]
        return emitter.call("concat", nodes, dim)
