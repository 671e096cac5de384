"""Linear layers: nn.Linear, F.linear and a product with a constant matrix."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier, given_product, quantize_product
from irnn_tvm.quantization.modules.integer_linear import IntegerLinear
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.embedding import EmbeddingLayer, place
from irnn_tvm.quantization.rules.layer import Layer, float_array
from irnn_tvm.quantization.slots import Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class LinearLayer(Layer):
    """The integer parameters of one weight matrix; all calls of a layer share them. tied: the embedding whose table the
    matrix is, None when it has rows of its own."""

    tied: EmbeddingLayer | None = None

    def __init__(self, op: Op, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(op.planner, op.label)
        self.weight, self.bias = float_array(weight), float_array(bias) if bias is not None else None
        if op.config.tied_weights == "shared":
            self.tied = op.planner.tables.get(place(weight))
        if self.tied is not None:
            self.tied.tie()
        self.out = op.planner.new_slot(f"{op.label} output", flexible=True)

    def build(self) -> nn.Module:
        x, y = self.entry.qparams, self.out.qparams
        bias = self.bias if self.bias is not None else np.zeros(self.weight.shape[0])
        seen = self.statistics(self.weight)
        if self.tied is not None:
            table, step = self.tied.integers(), self.tied.out.qparams.scale
            rows, total = given_product(self.weight, table, step, bias, x, seen, self.name)
        else:
            rows, total = quantize_product(self.weight, bias, x, seen, self.name)
        (mult,), shift = bounded_multiplier(
            [rows.effective / y.scale], [rows.magnitude() + np.abs(total)], self.name
        )
        return IntegerLinear(
            torch.from_numpy(rows.weight),
            torch.from_numpy(total.astype(np.int32)),
            torch.from_numpy(mult.astype(np.int32)),
            shift,
            y.zero_point,
            y.bits,
        )


@Registry.register(
    modules=(nn.Linear,), functions=(F.linear, torch.matmul, operator.matmul), methods=("matmul",)
)
class LinearOp(Op):
    """y = x W^T + b."""

    kind = "linear"

    def plan(self) -> Value:
        key = self.module if self.module is not None else self.node
        if key not in self.planner.layers:
            self.planner.layers[key] = self._make()
        self.layer: LinearLayer = self.planner.layers[key]
        self.layer.call(self.slot(self.argument(0, "input"), "product"))
        self.layer.out.watch(self.planner.folded.source(self.node))
        return self.layer.out

    def _make(self) -> LinearLayer:
        folded = self.planner.folded.weights.get(self.node)
        if folded is not None:
            return LinearLayer(self, *folded)
        if self.module is not None:
            assert isinstance(self.module, nn.Linear)
            return LinearLayer(self, self.module.weight, self.module.bias)
        weight = self.constant(
            self.argument(1, "weight" if self.node.target is F.linear else "other"), "its matrix"
        )
        if self.node.target is F.linear:
            bias = self.argument(2, "bias")
            return LinearLayer(self, weight, self.constant(bias, "its bias") if bias is not None else None)
        if weight.dim() != 2:
            raise self.refuse("a matrix product is supported with a constant 2-D matrix on the right")
        return LinearLayer(self, weight.T, None)

    def constant(self, argument: Any, what: str) -> Tensor:
        if not isinstance(argument, fx.Node) or not self.planner.is_constant(argument):
            raise self.refuse(
                f"{what} must be a parameter or a constant; products of two activations are unsupported"
            )
        found: Tensor = argument.meta["value"]
        return found

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.layer.observe(args[0] if args else kwargs["input"])

    def refine(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.layer.refine(args[0] if args else kwargs["input"])

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = self.argument(0, "input")
        x = sim.operand(args[0] if args else kwargs["input"], self.planner.values[source], self.layer.entry)
        weight, bias = self._live(sim)
        tied = self.layer.tied
        rows = sim.rows(weight) if tied is None else sim.quantize(weight, tied.out)
        return sim.quantize(F.linear(x, rows, bias), self.layer.out)

    def _live(self, sim: Simulation) -> tuple[Tensor, Tensor | None]:
        """Weight [N, K] and bias as they are now."""
        if self.node in self.planner.folded.weights:
            return self.planner.folded.live(self.node)
        if self.module is not None:
            assert isinstance(self.module, nn.Linear)
            return self.module.weight, self.module.bias
        if self.node.target is F.linear:
            bias = self.argument(2, "bias")
            return sim.live(self.argument(1, "weight")), sim.live(bias) if bias is not None else None
        return sim.live(self.argument(1, "other")).T, None

    def emit(self, emitter: Emitter) -> Any:
        x = self.argument(0, "input")
        source = self.planner.values[x]
        node = emitter.to(emitter.env[x], source.qparams, self.layer.entry, self.layer.name)
        return self.layer.emit(emitter, node)
