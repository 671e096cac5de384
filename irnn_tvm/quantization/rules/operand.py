"""An int8 operand of an op that multiplies activations: the tensor as it is where it has 8 bits, or requantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.rules.layer import Entry
from irnn_tvm.quantization.slots import Slot

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


@dataclass(frozen=True)
class Operand:
    """node: the captured tensor; source: its slot; entry: the slot of what the op reads."""

    name: str
    node: fx.Node
    source: Slot
    entry: Slot

    @property
    def qparams(self) -> QParams:
        return self.entry.qparams

    def emit(self, emitter: Emitter, made: fx.Node | None = None) -> fx.Node:
        """The integer node that the op reads; made: another integer node with the tensor's elements."""
        made = emitter.env[self.node] if made is None else made
        return emitter.to(made, self.source.qparams, self.entry, self.name)

    def simulate(self, sim: Simulation, x: Tensor) -> Tensor:
        return sim.operand(x, self.source, self.entry)


def product_operand(op: Op, argument: Any, what: str) -> Operand:
    """An argument of `op` as an int8 factor. what: its name in messages and the report."""
    source = op.slot(argument, "product")
    entry = Entry(f"{op.label} {what}", op.config, bits=8)
    entry.sources = [source]
    entry.watch(argument)
    op.planner.slots.append(entry)
    return Operand(op.label, argument, source, entry)
