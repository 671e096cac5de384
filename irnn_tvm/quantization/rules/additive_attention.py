"""irnn_tvm.nn.AdditiveAttention: projections, scores by a table of tanh, softmax, and a product with the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx

from irnn_tvm.nn.attention import AdditiveAttention
from irnn_tvm.nn.masks import lengths_to_mask
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.observers import Observer
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.layer import float_array
from irnn_tvm.quantization.rules.operand import Operand, product_operand
from irnn_tvm.quantization.rules.projection import Projection, projection
from irnn_tvm.quantization.rules.recurrent import gate_qparams
from irnn_tvm.quantization.rules.softmax import (
    WeightsSlot,
    distance_multiplier,
    new_weights,
    simulate_weights,
    table_node,
)
from irnn_tvm.quantization.slots import Index, Value
from irnn_tvm.quantization.tables import FUNCTIONS, fit_table, tanh_qparams

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation

NAMES = ("query", "keys", "values", "lengths")


@Registry.register(modules=(AdditiveAttention,))
class AdditiveAttentionOp(Op):
    """Projections, scores and weights have gate_bits; tanh has 8, because it is the factor of a product."""

    kind = "attention"

    def plan(self) -> Value:
        module = self.attention
        query, keys = self.argument(0, "query"), self.argument(1, "keys")
        values = self.argument(2, "values")
        self.nodes: list[fx.Node] = [query, keys, keys if values is None else values]
        self.lengths: fx.Node | None = self.argument(3, "lengths")
        if self.lengths is not None and not isinstance(self.planner.value(self.lengths), Index):
            raise self.refuse("its lengths are not an integer tensor of the model")
        bits = self.config.gate_bits
        self.sources = [
            self.slot(query, "product"),
            self.slot(keys, "product" if module.project_keys else "elementwise"),
        ]
        self.query = projection(self, "query_projection", self._query_weights, self.sources[0], bits)
        self.keys: Projection | None = None
        if module.project_keys:
            self.keys = projection(self, "key_projection", self._key_weights, self.sources[1], bits)
        self.values: Operand = product_operand(self, self.nodes[2], "values")
        self.sum: Observer = self.config.observer("gate")
        self.scores = self.planner.new_slot(f"{self.label} scores", bits=bits)
        self.weights: WeightsSlot = new_weights(self, f"{self.label} weights")
        self.weights.watch(self.node, (1,))
        context = self.planner.new_slot(self.label, flexible=True)
        context.watch(self.node, (0,))
        return context, self.weights

    @property
    def attention(self) -> AdditiveAttention:
        assert isinstance(self.module, AdditiveAttention)
        return self.module

    def _query_weights(self) -> tuple[Tensor, Tensor | None]:
        layer = self.attention.query_projection
        return layer.weight, layer.bias

    def _key_weights(self) -> tuple[Tensor, Tensor | None]:
        layer = self.attention.key_projection
        assert layer is not None
        return layer.weight, None

    def _operands(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """query [B, Tq, Q], keys, values, lengths of a call, as floats."""
        found: list[Any] = [args[i] if len(args) > i else kwargs.get(name) for i, name in enumerate(NAMES)]
        if found[0].dim() == 2:
            found[0] = found[0].unsqueeze(1)
        found[2] = found[1] if found[2] is None else found[2]
        return found

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        query, keys, _, _ = self._operands(args, kwargs)
        q = self.query.see(query)
        k = keys if self.keys is None else self.keys.see(keys)
        pre = q.unsqueeze(2) + k.unsqueeze(1)
        self.sum.update(pre)
        self.scores.observer.update(torch.tanh(pre) @ self.attention.score)

    def refine(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        query, keys, _, _ = self._operands(args, kwargs)
        self.query.refine(query)
        if self.keys is not None:
            self.keys.refine(keys)

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        query, keys, values, lengths = self._operands(args, kwargs)
        q = self.query.simulate(sim, query, self.sources[0])
        k = keys if self.keys is None else self.keys.simulate(sim, keys, self.sources[1])
        pre, grid = sim.internal(q.unsqueeze(2) + k.unsqueeze(1), (self.label, "sum"), self.sum, self._grid)
        t = sim.function(pre, "tanh", (self.label, "tanh"), grid, tanh_qparams(8), self.sum)
        scores = sim.quantize(t @ sim.rows(self.attention.score.unsqueeze(0)).squeeze(0), self.scores)
        valid = None if lengths is None else lengths_to_mask(lengths, keys.shape[1]).unsqueeze(1)
        weights = sim.quantize(simulate_weights(sim, scores, valid, self.label), self.weights)
        assert isinstance(self.value, tuple)
        context = sim.quantize(weights @ self.values.simulate(sim, values), self.value[0])
        single = self.nodes[0].meta["value"].dim() == 2
        return (context.squeeze(1), weights.squeeze(1)) if single else (context, weights)

    def _grid(self) -> QParams:
        """Parameters of q + k before tanh."""
        return gate_qparams(self.sum, "tanh", self.config)

    def emit(self, emitter: Emitter) -> Any:
        single = self.nodes[0].meta["value"].dim() == 2
        query, keys = (emitter.env[n] for n in self.nodes[:2])
        if single:
            query = emitter.graph.call_method("unsqueeze", (query, 1))
        q = self.query.project(emitter, query, self.sources[0])
        k = keys if self.keys is None else self.keys.project(emitter, keys, self.sources[1])
        scores = self._emit_scores(emitter, q, k)
        mult, shift = distance_multiplier(
            self.scores.qparams.scale, (1 << self.scores.qparams.bits) - 1, self.label
        )
        table, table_shift = table_node(emitter, self)
        lengths = None if self.lengths is None else emitter.env[self.lengths]
        weights = emitter.call("softmax", scores, lengths, table, mult, shift, table_shift, False,
                               self.weights.qparams.bits)  # fmt: skip
        assert isinstance(self.value, tuple)
        w, v, y = self.weights.qparams, self.values.qparams, self.value[0].qparams
        (out,), out_shift = bounded_multiplier([w.scale * v.scale / y.scale], [1 << 31], self.label)
        context = emitter.call("matmul", weights, self.values.emit(emitter), w.zero_point, v.zero_point, int(out[0]),
                               out_shift, y.zero_point, y.bits, False)  # fmt: skip
        if single:
            return tuple(emitter.graph.call_method("squeeze", (n, 1)) for n in (context, weights))
        return context, weights

    def _emit_scores(self, emitter: Emitter, q: fx.Node, k: fx.Node) -> fx.Node:
        grid, tanh = self._grid(), tanh_qparams(8)
        qq, kq = self.query.out.qparams, (self.sources[1] if self.keys is None else self.keys.out).qparams
        reach = [1 << (p.bits + (p.zero_point != 0)) for p in (qq, kq)]
        (q_mult, k_mult), pre_shift = bounded_multiplier(
            [qq.scale / grid.scale, kq.scale / grid.scale], reach, self.label
        )
        table = fit_table(FUNCTIONS["tanh"], self.config.pwl_pieces, grid, tanh, self.sum.histogram)
        row = float_array(self.attention.score)
        unit = float(np.abs(row).max()) / 127.0 or 1.0
        integers = np.floor(row / unit + 0.5).astype(np.int8)
        bound = int(np.abs(integers.astype(np.int64)).sum()) * 128
        (mult,), shift = bounded_multiplier(
            [unit * tanh.scale / self.scores.qparams.scale], [max(bound, 1)], self.label
        )
        weight = emitter.buffer(f"{self.label}_score", torch.from_numpy(integers))
        shape = emitter.buffer(f"{self.label}_tanh", torch.from_numpy(table.table.copy()))
        return emitter.call("additive_scores", q, k, weight, shape, qq.zero_point, kq.zero_point, int(q_mult[0]),
                            int(k_mult[0]), pre_shift, grid.zero_point, grid.bits, table.shift, int(mult[0]), shift,
                            self.scores.qparams.zero_point, self.scores.qparams.bits)  # fmt: skip
