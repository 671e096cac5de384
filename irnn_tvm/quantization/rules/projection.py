"""A linear layer inside of an attention: its weights are those of a part of a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, fx
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.rules.layer import Layer, float_array
from irnn_tvm.quantization.rules.linear import LinearLayer
from irnn_tvm.quantization.slots import Slot

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

Weights = Callable[[], tuple[Tensor, Tensor | None]]


class Projection(LinearLayer):
    """y = x W^T + b. weights: gives the float W [N, K] and b [N] or None as they are now.

    bits: width of the result, None to choose from its uses.
    """

    def __init__(self, op: Op, name: str, weights: Weights, bits: int | None) -> None:
        Layer.__init__(self, op.planner, f"{op.label}.{name}")
        self.weights = weights
        weight, bias = weights()
        self.weight, self.bias = float_array(weight), float_array(bias) if bias is not None else None
        self.out = op.planner.new_slot(f"{self.name} output", flexible=True, bits=bits)

    def run(self, x: Tensor) -> Tensor:
        """The float result."""
        weight, bias = self.weights()
        return F.linear(x, weight, bias)

    def see(self, x: Tensor) -> Tensor:
        """Observes operand and result of a call. Returns the result."""
        self.observe(x)
        y = self.run(x)
        self.out.observer.update(y)
        return y

    def simulate(self, sim: Simulation, x: Tensor, source: Slot) -> Tensor:
        weight, bias = self.weights()
        return sim.quantize(F.linear(sim.operand(x, source, self.entry), sim.rows(weight), bias), self.out)

    def project(self, emitter: Emitter, node: fx.Node, source: Slot) -> fx.Node:
        """A call on an integer node with the parameters of `source`."""
        return self.emit(emitter, emitter.to(node, source.qparams, self.entry, self.name))


def projection(op: Op, name: str, weights: Weights, source: Slot, bits: int | None = None) -> Projection:
    """The projection `name` of the op's module, made by its first call; source: the operand of this call."""
    key = (op.module, name)
    if key not in op.planner.layers:
        op.planner.layers[key] = Projection(op, name, weights, bits)
    found: Projection = op.planner.layers[key]
    found.call(source)
    return found
