"""BatchNorm1d that follows no Conv1d or Linear: a gain and an offset per channel.

A depthwise convolution with one tap computes it with one rounding: a row of a single weight is that weight, +-127,
times its own 31-bit multiplier, so the gains lose nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier, quantize_product
from irnn_tvm.quantization.modules.integer_conv1d import IntegerConv1d
from irnn_tvm.quantization.rules.base import Op, Registry
from irnn_tvm.quantization.rules.layer import Layer, float_array
from irnn_tvm.quantization.slots import Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class BatchNormLayer(Layer):
    """Gain and offset of one BatchNorm1d in evaluation mode."""

    def __init__(self, op: Op, module: nn.BatchNorm1d) -> None:
        super().__init__(op.planner, op.label)
        self.module = module
        self.out = op.planner.new_slot(f"{op.label} output", flexible=True)

    def affine(self) -> tuple[Tensor, Tensor]:
        """(gain, offset) [C] as they are now, with their gradients."""
        m = self.module
        assert m.running_mean is not None
        assert m.running_var is not None
        gain = torch.rsqrt(m.running_var + m.eps)
        if m.weight is not None:
            gain = gain * m.weight
        offset = -m.running_mean * gain
        return gain, offset if m.bias is None else offset + m.bias

    def build(self) -> nn.Module:
        x, y = self.entry.qparams, self.out.qparams
        gain, offset = (float_array(v) for v in self.affine())
        rows, total = quantize_product(gain[:, None], offset, x, None, self.name)
        (mult,), shift = bounded_multiplier(
            [rows.effective / y.scale], [rows.magnitude() + np.abs(total)], self.name
        )
        channels = gain.shape[0]
        return IntegerConv1d(
            torch.from_numpy(rows.weight[:, :, None]),
            torch.from_numpy(total.astype(np.int32)),
            torch.from_numpy(mult.astype(np.int32)),
            shift,
            x.zero_point,
            y.zero_point,
            y.bits,
            1,
            0,
            1,
            channels,
            0,
        )


@Registry.register(modules=(nn.BatchNorm1d,))
class BatchNormOp(Op):
    """y[:, c] = x[:, c] * gain[c] + offset[c], x [B, C] or [B, C, T]."""

    kind = "conv1d"

    def plan(self) -> Value:
        module = self.module
        assert isinstance(module, nn.BatchNorm1d)
        if module not in self.planner.layers:
            self.planner.layers[module] = BatchNormLayer(self, module)
        self.layer: BatchNormLayer = self.planner.layers[module]
        self.layer.call(self.slot(self.argument(0, "input"), "product"))
        self.layer.out.watch(self.node)
        return self.layer.out

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.layer.observe(args[0] if args else kwargs["input"])

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = self.argument(0, "input")
        x = sim.operand(args[0] if args else kwargs["input"], self.planner.values[source], self.layer.entry)
        gain, offset = self.layer.affine()
        # An accumulator unit is 1/127 of the gain's step, coarse enough to move results across a tie.
        unit = (gain.detach().abs() * (self.layer.entry.qparams.scale / 127.0)).clamp_min(1e-12)
        rounded = torch.floor(offset.detach() / unit + 0.5) * unit
        offset = offset + (rounded - offset.detach())
        gain, offset = (v.reshape(-1, *[1] * (x.dim() - 2)) for v in (gain, offset))
        return sim.quantize(x * gain + offset, self.layer.out)

    def emit(self, emitter: Emitter) -> Any:
        x = self.argument(0, "input")
        node = emitter.to(emitter.env[x], self.planner.values[x].qparams, self.layer.entry, self.layer.name)
        if x.meta["value"].dim() == 3:
            return self.layer.emit(emitter, node)
        column = emitter.graph.call_method("unsqueeze", (node, -1))
        return emitter.graph.call_method("squeeze", (self.layer.emit(emitter, column), -1))
