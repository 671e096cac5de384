"""Softmax over one axis, with the mask of a masked_fill right before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from irnn_tvm.nn.masks import masked_softmax
from irnn_tvm.ops.softmax import DISTANCE, EXPONENTIAL, exp_table, weights_qparams
from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.masks import LOWEST, MaskedFillOp, check_shape, find_mask
from irnn_tvm.quantization.slots import Mask, Slot, Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class WeightsSlot(Slot):
    """The weights of a softmax: known grid, and rows that sum to 1, so that products may keep their 16 bits."""


def new_weights(op: Op, name: str) -> WeightsSlot:
    """The slot of a softmax's result."""
    slot = WeightsSlot(name, op.config, bits=op.config.gate_bits, fixed=weights_qparams)
    op.planner.slots.append(slot)
    return slot


def exponential(values: np.ndarray) -> np.ndarray:
    """exp as the integer softmax uses it: of distances below the maximum."""
    return np.exp(np.minimum(values, DISTANCE.scale))


def table_node(emitter: Emitter, op: Op) -> tuple[fx.Node, int]:
    """Constant int16 table of exp, and its shift."""
    table = exp_table(op.config.pwl_pieces)
    return emitter.buffer(f"{op.label}_exp", torch.from_numpy(table.table.copy())), table.shift


def distance_multiplier(scale: float, bound: int, name: str) -> tuple[int, int]:
    """Multiplier and shift from scores of a scale to the grid of exp; bound: the largest distance in integers."""
    (mult,), shift = bounded_multiplier([scale / DISTANCE.scale], [bound], name)
    return int(mult[0]), shift


def simulate_weights(sim: Simulation, scores: Tensor, valid: Tensor | None, key: str) -> Tensor:
    """Weights over the last axis of float scores, by the table of exp; 0 where valid (bool, broadcastable) is False."""
    lowest = torch.finfo(scores.dtype).min
    masked = scores if valid is None else scores.masked_fill(~valid, lowest)
    distance = (masked - masked.detach().amax(-1, keepdim=True)).clamp(min=-16.0)
    e = sim.function(distance, exponential, (key, "exp"), DISTANCE, EXPONENTIAL, None).clamp(min=0.0)
    e = e if valid is None else e * valid
    return e / e.sum(-1, keepdim=True).clamp(min=DISTANCE.scale)


@Registry.register(
    modules=(nn.Softmax,), functions=(F.softmax, torch.softmax, masked_softmax), methods=("softmax",)
)
class SoftmaxOp(Op):
    """Weights of 16 bits with scale 2**-15 (8 bits: 2**-8, zero point -128)."""

    kind = "softmax"

    def plan(self) -> Value:
        node = self.argument(0, "scores" if self.node.target is masked_softmax else "input")
        self.source = self.slot(node, "pwl")
        self.input: fx.Node = node
        rank = node.meta["value"].dim()
        self.dim = self._dim(rank) % rank
        self.mask, shape = self._mask(node)
        if self.mask is not None:
            check_shape(self, shape, self.mask, node.meta["value"].shape, self.dim)
            if self.mask.lengths is not None and self.dim == 0:
                raise self.refuse(
                    "lengths belong to sequences, the first axis: softmax over it is not supported with a mask"
                )
        slot = new_weights(self, self.label)
        slot.watch(self.node)
        return slot

    def _dim(self, rank: int) -> int:
        if self.node.target is masked_softmax:
            return -1
        dim = (
            self.module.dim
            if isinstance(self.module, nn.Softmax)
            else self.plain(self.argument(1, "dim"), "dim")
        )
        if dim is None:
            raise self.refuse("softmax without dim; name the axis")
        return int(dim)

    def _mask(self, node: fx.Node) -> tuple[Mask | None, Any]:
        """The mask, and the node whose shape it has."""
        if self.node.target is masked_softmax:
            given = self.argument(1, "mask")
            return find_mask(self, given, valid=True), given
        before = self.planner.ops.get(node)
        if isinstance(before, MaskedFillOp):
            return before.mask, before.argument(1, "mask")
        return None, None

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scores: Tensor = args[0] if args else kwargs["scores" if "scores" in kwargs else "input"]
        valid = None
        if self.node.target is masked_softmax:
            valid = args[1] if len(args) > 1 else kwargs.get("mask")
        elif self.mask is not None:
            valid = scores > LOWEST
            scores = scores.masked_fill(~valid, 0.0)
        last = scores.transpose(self.dim, -1)
        moved = valid if valid is None or self.dim == last.dim() - 1 else valid.transpose(self.dim, -1)
        weights = simulate_weights(sim, last, moved, self.label).transpose(self.dim, -1)
        assert isinstance(self.value, Slot)
        return sim.quantize(weights, self.value)

    def emit(self, emitter: Emitter) -> Any:
        assert isinstance(self.value, Slot)
        q = self.source.qparams
        mult, shift = distance_multiplier(q.scale, (1 << q.bits) - 1, self.label)
        table, table_shift = table_node(emitter, self)
        x = emitter.env[self.input]
        last = self.input.meta["value"].dim() - 1
        if self.dim != last:
            x = emitter.graph.call_method("transpose", (x, self.dim, last))
        lengths = self.mask.lengths if self.mask is not None else None
        causal = self.mask is not None and self.mask.causal
        y = emitter.call("softmax", x, None if lengths is None else emitter.env[lengths], table, mult, shift,
                         table_shift, causal, self.value.bits)  # fmt: skip
        return y if self.dim == last else emitter.graph.call_method("transpose", (y, self.dim, last))
