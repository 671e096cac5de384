"""nn.MultiheadAttention: three projections, one attention over all heads, one projection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.dot_product_attention import DotProduct
from irnn_tvm.quantization.rules.masks import check_shape, find_mask, merge
from irnn_tvm.quantization.rules.projection import Projection, projection
from irnn_tvm.quantization.rules.recurrent import reads
from irnn_tvm.quantization.rules.softmax import new_weights
from irnn_tvm.quantization.rules.visible_weights import VisibleWeights
from irnn_tvm.quantization.slots import Mask, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

PARTS = ("query", "key", "value")


@Registry.register(modules=(nn.MultiheadAttention,))
class MultiheadAttentionOp(Op):
    """Self and cross attention, batch first or not, also unbatched; key_padding_mask of lengths, causal attn_mask."""

    kind = "attention"

    def plan(self) -> Value:
        module = self.attention
        if module.bias_k is not None or module.add_zero_attn:
            raise self.refuse("add_bias_kv and add_zero_attn are not supported")
        nodes = [self.argument(i, name) for i, name in enumerate(PARTS)]
        sources = [self.slot(n, "product") for n in nodes]
        self.sources = sources
        self.parts = [
            projection(self, f"{name}_projection", self._weights(i), source, bits=8)
            for i, (name, source) in enumerate(zip(PARTS, sources, strict=True))
        ]
        mask = self._masks(nodes)
        context = self.planner.new_slot(f"{self.label} context", flexible=True, bits=8)
        q, k, v = (p.out for p in self.parts)
        scale = 1 / math.sqrt(module.head_dim)
        self.product = DotProduct(q, k, v, context, module.num_heads, module.embed_dim, scale, mask)
        out = module.out_proj
        self.out: Projection = projection(self, "output_projection", lambda: (out.weight, out.bias), context)
        self.out.out.watch(self.node, (0,))
        self.visible = self._visible_weights()
        return self.out.out, None if self.visible is None else self.visible.weights

    def _visible_weights(self) -> VisibleWeights | None:
        """What it takes to return the weights, if anybody reads them."""
        if self.node.meta["value"][1] is None or not reads(self.node, (1,)):
            return None
        average = bool(self.argument(6, "average_attn_weights", True))
        scores = self.planner.new_slot(f"{self.label} scores", bits=self.config.gate_bits)
        weights = new_weights(self, f"{self.label} weights")
        weights.watch(self.node, (1,))
        return VisibleWeights(self.product, scores, weights, average)

    @property
    def attention(self) -> nn.MultiheadAttention:
        assert isinstance(self.module, nn.MultiheadAttention)
        return self.module

    def _weights(self, part: int) -> Any:
        module = self.attention
        size = module.embed_dim
        rows = slice(part * size, (part + 1) * size)

        def weights() -> tuple[Tensor, Tensor | None]:
            if module.in_proj_weight is not None:
                weight = module.in_proj_weight[rows]
            else:
                separate = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)[part]
                assert separate is not None
                weight = separate
            return weight, module.in_proj_bias[rows] if module.in_proj_bias is not None else None

        return weights

    def _masks(self, nodes: list[fx.Node]) -> Mask:
        query, key = (n.meta["value"] for n in nodes[:2])
        first = query.dim() == 3 and not self.attention.batch_first
        batch = (query.shape[1] if first else query.shape[0]) if query.dim() == 3 else 1
        tq, tk = (t.shape[0] if first or t.dim() == 2 else t.shape[1] for t in (query, key))
        padding, causal = self.argument(3, "key_padding_mask"), self.argument(5, "attn_mask")
        found = find_mask(self, padding, valid=False)
        if found is not None:
            if query.dim() == 2:
                raise self.refuse("key_padding_mask needs a batch; attend to the valid keys only instead")
            check_shape(self, padding, found, torch.Size((batch, tk)))
            if found.causal:
                raise self.refuse("its key_padding_mask is causal; pass the causal part as attn_mask")
        other = find_mask(self, causal, valid=False)
        if other is not None:
            check_shape(self, causal, other, torch.Size((tq, tk)))
            if other.lengths is not None:
                raise self.refuse("its attn_mask depends on lengths; pass these as key_padding_mask")
        return merge(self, found, other)

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        x = [self._part(args, kwargs, i) for i in range(3)]
        q, k, v = (p.see(t) for p, t in zip(self.parts, x, strict=True))
        context = self._context(q, k, v, *self._given(args, kwargs))
        if self.visible is not None:
            scores = self._heads(q) @ self._heads(k).transpose(-1, -2) * self.product.scale
            self.visible.scores.observer.update(scores)
        self.product.out.observer.update(context)
        self.out.observe(context)

    def refine(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        x = [self._part(args, kwargs, i) for i in range(3)]
        axis = 1 if x[0].dim() == 3 and not self.attention.batch_first else 0
        for part, operand in zip(self.parts, x, strict=True):
            part.refine(operand, axis)
        q, k, v = (p.run(t) for p, t in zip(self.parts, x, strict=True))
        self.out.refine(self._context(q, k, v, *self._given(args, kwargs)), axis)

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        parts = zip(self.parts, range(3), self.sources, strict=True)
        q, k, v = (p.simulate(sim, self._part(args, kwargs, i), source) for p, i, source in parts)
        padding, _ = self._given(args, kwargs)
        valid = None if padding is None else ~padding[:, None, None, :]
        dropout = self.attention.dropout if self.attention.training else 0.0
        operands = [self._heads(t) for t in (q, k, v)]
        weights: Tensor | None = None
        if self.visible is not None:
            valid = self.product.valid(operands[0], operands[1], valid)
            context, weights = self.visible.simulate(sim, self, operands, valid, dropout)
            weights = weights.squeeze(0) if q.dim() == 2 else weights
        else:
            context = self.product.simulate(sim, self, operands, valid, dropout)
        return self.out.simulate(sim, self._joined(context, q), self.product.out), weights

    def _part(self, args: tuple[Any, ...], kwargs: dict[str, Any], index: int) -> Tensor:
        found: Tensor = args[index] if len(args) > index else kwargs[PARTS[index]]
        return found

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor | None, Tensor | None]:
        """(key_padding_mask, attn_mask) of a call."""
        padding = args[3] if len(args) > 3 else kwargs.get("key_padding_mask")
        return padding, args[5] if len(args) > 5 else kwargs.get("attn_mask")

    def _heads(self, x: Tensor) -> Tensor:
        """[B, heads, T, size] of a projected float tensor in the module's layout."""
        x = x.unsqueeze(0) if x.dim() == 2 else x if self.attention.batch_first else x.transpose(0, 1)
        return x.unflatten(-1, (self.attention.num_heads, -1)).transpose(1, 2)

    def _joined(self, x: Tensor, like: Tensor) -> Tensor:
        x = x.transpose(1, 2).flatten(2)
        return x.squeeze(0) if like.dim() == 2 else x if self.attention.batch_first else x.transpose(0, 1)

    def _context(
        self, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """The float attended values before the output projection, in the module's layout."""
        left_out = None if padding is None else padding[:, None, None, :]
        if mask is not None:
            left_out = mask if left_out is None else left_out | mask
        split = [self._heads(t) for t in (q, k, v)]
        scores = split[0] @ split[1].transpose(-1, -2) * self.product.scale
        if left_out is not None:
            scores = scores.masked_fill(left_out, torch.finfo(scores.dtype).min)
        return self._joined(torch.softmax(scores, -1) @ split[2], q)

    def emit(self, emitter: Emitter) -> Any:
        nodes = [self.argument(i, name) for i, name in enumerate(PARTS)]
        made = [
            p.project(emitter, emitter.env[n], s)
            for p, n, s in zip(self.parts, nodes, self.sources, strict=True)
        ]
        single = nodes[0].meta["value"].dim() == 2
        swapped = not single and not self.attention.batch_first
        if single:
            made = [emitter.graph.call_method("unsqueeze", (n, 0)) for n in made]
        elif swapped:
            made = [emitter.graph.call_method("transpose", (n, 0, 1)) for n in made]
        weights: fx.Node | None = None
        if self.visible is not None:
            y, weights = self.visible.emit(emitter, self, made[0], made[1], made[2])
            weights = emitter.graph.call_method("squeeze", (weights, 0)) if single else weights
        else:
            y = self.product.emit(emitter, self, made[0], made[1], made[2])
        if single:
            y = emitter.graph.call_method("squeeze", (y, 0))
        elif swapped:
            y = emitter.graph.call_method("transpose", (y, 0, 1))
        return self.out.project(emitter, y, self.product.out), weights
