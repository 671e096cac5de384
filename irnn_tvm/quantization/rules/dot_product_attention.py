"""F.scaled_dot_product_attention, and the parts that every attention over dot products shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.masks import check_shape, find_mask, merge
from irnn_tvm.quantization.rules.operand import product_operand
from irnn_tvm.quantization.rules.softmax import distance_multiplier, simulate_weights, table_node
from irnn_tvm.quantization.slots import Mask, Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


@dataclass(frozen=True)
class DotProduct:
    """What `irnn::attention` needs besides its operands. q, k, v, out: slots; scale: that of the scores."""

    q: Slot
    k: Slot
    v: Slot
    out: Slot
    heads: int
    width: int  # features of a query, all heads together
    scale: float
    mask: Mask

    def emit(self, emitter: Emitter, op: Op, q: fx.Node, k: fx.Node, v: fx.Node) -> fx.Node:
        """A call on int8 nodes [B, T, heads * size]."""
        size = self.width // self.heads
        mult, shift = distance_multiplier(
            self.q.qparams.scale * self.k.qparams.scale * self.scale, 2 * size * 255 * 128, op.label
        )
        table, table_shift = table_node(emitter, op)
        y, values = self.out.qparams, self.v.qparams
        (out_mult,), out_shift = bounded_multiplier([values.scale * 2.0**-22 / y.scale], [1 << 31], op.label)
        lengths = None if self.mask.lengths is None else emitter.env[self.mask.lengths]
        return emitter.call("attention", q, k, v, lengths, table, self.heads, self.q.qparams.zero_point,
                            values.zero_point, mult, shift, table_shift, self.mask.causal, int(out_mult[0]), out_shift,
                            y.zero_point, y.bits)  # fmt: skip

    def valid(self, q: Tensor, k: Tensor, given: Tensor | None) -> Tensor | None:
        """`given` (bool, broadcastable to the scores), and no key after the query if this is causal."""
        if not self.mask.causal:
            return given
        rows = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        return rows if given is None else given & rows

    def simulate(
        self, sim: Simulation, op: Op, operands: list[Tensor], valid: Tensor | None, dropout: float = 0.0
    ) -> Tensor:
        """Float result on the grid of `out`, for q, k, v [..., T, size] of single heads on their grids.

        valid: bool, broadcastable to the scores. dropout: share of the weights that training drops.
        """
        q, k, v = operands
        valid = self.valid(q, k, valid)
        weights = simulate_weights(sim, q @ k.transpose(-1, -2) * self.scale, valid, op.label)
        return sim.quantize(F.dropout(weights, dropout) @ v, self.out)


@Registry.register(functions=(F.scaled_dot_product_attention,))
class ScaledDotProductOp(Op):
    """softmax(q k^T * scale + mask) v. q [..., Tq, E], k [..., Tk, E], v [..., Tk, V] of equal leading sizes."""

    kind = "attention"

    def plan(self) -> Value:
        names = ("query", "key", "value")
        nodes = [self.argument(i, name) for i, name in enumerate(names)]
        shapes = [n.meta["value"].shape for n in nodes]
        if len(shapes[0]) < 3 or any(s[:-2] != shapes[0][:-2] for s in shapes):
            raise self.refuse(
                f"query, key and value of equal leading sizes [B, ..., T, features] are supported, not "
                f"{', '.join(str(tuple(s)) for s in shapes)}"
            )
        if self.argument(4, "dropout_p", 0.0):
            raise self.refuse("dropout_p > 0 is random; pass dropout_p=0.0 in eval mode (self.training)")
        if self.node.kwargs.get("enable_gqa"):
            raise self.refuse("enable_gqa is not supported; repeat the keys and values instead")
        self.operands = [product_operand(self, n, name) for n, name in zip(nodes, names, strict=True)]
        scores = torch.Size((*shapes[0][:-1], shapes[1][-2]))
        given = self.argument(3, "attn_mask")
        mask = merge(self, find_mask(self, given, valid=True), None)
        if given is not None:
            check_shape(self, given, mask, scores)
        if self.argument(5, "is_causal", False):
            mask = Mask(mask.lengths, causal=True)
        scale = self.node.kwargs.get("scale")
        scale = 1 / math.sqrt(shapes[0][-1]) if scale is None else float(self.plain(scale, "scale"))
        if not scale > 0:
            raise self.refuse(f"scale={scale} is not supported; it must be positive")
        slot = self.planner.new_slot(self.label, flexible=True)
        slot.watch(self.node)
        q, k, v = (o.entry for o in self.operands)
        self.product = DotProduct(q, k, v, slot, 1, shapes[0][-1], scale, mask)
        return slot

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values = [args[i] if len(args) > i else kwargs[n] for i, n in enumerate(("query", "key", "value"))]
        operands = [o.simulate(sim, x) for o, x in zip(self.operands, values, strict=True)]
        valid = args[3] if len(args) > 3 else kwargs.get("attn_mask")
        return self.product.simulate(sim, self, operands, valid)

    def emit(self, emitter: Emitter) -> Any:
        rank = self.operands[0].node.meta["value"].dim()
        nodes = [o.emit(emitter) for o in self.operands]
        query = nodes[0]
        if rank > 3:  # heads become part of the batch
            nodes = [emitter.graph.call_method("flatten", (n, 0, rank - 3)) for n in nodes]
        y = self.product.emit(emitter, self, nodes[0], nodes[1], nodes[2])
        if rank == 3:
            return y
        sizes = [emitter.size(query, d) for d in range(rank - 1)]
        width = self.operands[2].node.meta["value"].shape[-1]
        return emitter.graph.call_method("reshape", (y, (*sizes, width)))
