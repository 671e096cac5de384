"""Dot-product attention whose weights are a result: scores, softmax and product of every head as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, fx
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.rules.base import Op
from irnn_tvm.quantization.rules.dot_product_attention import DotProduct
from irnn_tvm.quantization.rules.softmax import (
    WeightsSlot,
    distance_multiplier,
    simulate_weights,
    table_node,
)
from irnn_tvm.quantization.slots import Slot

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


@dataclass(frozen=True)
class VisibleWeights:
    """product: the attention; scores, weights: slots of what it keeps inside otherwise; average: over the heads."""

    product: DotProduct
    scores: Slot
    weights: WeightsSlot
    average: bool

    def emit(self, emitter: Emitter, op: Op, q: fx.Node, k: fx.Node, v: fx.Node) -> tuple[fx.Node, fx.Node]:
        """Attended values [B, Tq, V] of int8 [B, T, ...], and weights [B, Tq, Tk] (with heads if not averaged)."""
        p, graph = self.product, emitter.graph

        def heads(node: fx.Node) -> fx.Node:
            split = graph.call_method("unflatten", (node, -1, (p.heads, -1)))
            return graph.call_method("transpose", (split, 1, 2))

        left, right, values = heads(q), heads(k), heads(v)
        qq, kq, vq, s, w, y = (x.qparams for x in (p.q, p.k, p.v, self.scores, self.weights, p.out))
        (mult,), shift = bounded_multiplier([qq.scale * kq.scale * p.scale / s.scale], [1 << 31], op.label)
        scores = emitter.call("matmul", left, right, qq.zero_point, kq.zero_point, int(mult[0]), shift, s.zero_point,
                              s.bits, True)  # fmt: skip
        table, table_shift = table_node(emitter, op)
        distance = distance_multiplier(s.scale, (1 << s.bits) - 1, op.label)
        lengths = None if p.mask.lengths is None else emitter.env[p.mask.lengths]
        weights = emitter.call(
            "softmax", scores, lengths, table, *distance, table_shift, p.mask.causal, w.bits
        )
        (out,), out_shift = bounded_multiplier([w.scale * vq.scale / y.scale], [1 << 31], op.label)
        context = emitter.call("matmul", weights, values, w.zero_point, vq.zero_point, int(out[0]), out_shift,
                               y.zero_point, y.bits, False)  # fmt: skip
        context = graph.call_method("flatten", (graph.call_method("transpose", (context, 1, 2)), 2))
        if self.average:
            weights = emitter.call("mean_pool", weights, 1, w.zero_point, 1 << 30, 30, w.zero_point, w.bits)
        return context, weights

    def simulate(
        self, sim: Simulation, op: Op, operands: list[Tensor], valid: Tensor | None, dropout: float
    ) -> tuple[Tensor, Tensor]:
        """Float attended values [B, heads, Tq, size] and weights, for q, k, v [B, heads, T, size] on their grids."""
        q, k, v = operands
        scores = sim.quantize(q @ k.transpose(-1, -2) * self.product.scale, self.scores)
        weights = sim.quantize(simulate_weights(sim, scores, valid, op.label), self.weights)
        context = sim.quantize(F.dropout(weights, dropout) @ v, self.product.out)
        return context, sim.quantize(weights.mean(1), self.weights) if self.average else weights
