"""nn.Conv1d with any stride, padding, dilation and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from irnn_tvm.quantization.emitter import Emitter
from irnn_tvm.quantization.fixed_point import bounded_multiplier, quantize_product
from irnn_tvm.quantization.modules.integer_conv1d import IntegerConv1d
from irnn_tvm.quantization.rules.base import Op, Registry, concrete
from irnn_tvm.quantization.rules.layer import Layer, float_array
from irnn_tvm.quantization.slots import Value

if TYPE_CHECKING:
    from irnn_tvm.training.simulation import Simulation


class Conv1dLayer(Layer):
    """The integer parameters of one convolution."""

    def __init__(self, op: Op, module: nn.Conv1d, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(op.planner, op.label)
        self.module = module
        self.weight, self.bias = float_array(weight), float_array(bias) if bias is not None else None
        self.out = op.planner.new_slot(f"{op.label} output", flexible=True)

    def build(self) -> nn.Module:
        x, y = self.entry.qparams, self.out.qparams
        flat = self.weight.reshape(self.weight.shape[0], -1)
        bias = self.bias if self.bias is not None else np.zeros(flat.shape[0])
        rows, total = quantize_product(flat, bias, x, self.statistics(flat), self.name)
        (mult,), shift = bounded_multiplier(
            [rows.effective / y.scale], [rows.magnitude() + np.abs(total)], self.name
        )
        padding, extra = _padding(self.module)
        return IntegerConv1d(
            torch.from_numpy(rows.weight.reshape(self.weight.shape)),
            torch.from_numpy(total.astype(np.int32)),
            torch.from_numpy(mult.astype(np.int32)),
            shift,
            x.zero_point,
            y.zero_point,
            y.bits,
            self.module.stride[0],
            padding,
            self.module.dilation[0],
            self.module.groups,
            extra,
        )


@Registry.register(modules=(nn.Conv1d,))
class Conv1dOp(Op):
    """y[b, o, t] = sum_k w[o, k] x[b, t * stride + k * dilation - padding] + b[o]."""

    kind = "conv1d"

    def plan(self) -> Value:
        module = self.module
        assert isinstance(module, nn.Conv1d)
        if module.padding_mode != "zeros":
            raise self.refuse(
                f"padding_mode={module.padding_mode!r} has no integer version; supported: 'zeros'"
            )
        if module not in self.planner.layers:
            weight, bias = self.planner.folded.weights.get(self.node, (module.weight, module.bias))
            self.planner.layers[module] = Conv1dLayer(self, module, weight, bias)
        self.layer: Conv1dLayer = self.planner.layers[module]
        self.layer.call(self.slot(self.argument(0, "input"), "product"))
        self.layer.out.watch(self.planner.folded.source(self.node))
        return self.layer.out

    def observe(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self.layer.observe(args[0] if args else kwargs["input"])

    def refine(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        module = self.layer.module
        if module.groups == 1:
            x = concrete(args[0] if args else kwargs["input"])
            self.layer.refine(_windows(x if x.dim() == 3 else x.unsqueeze(0), module))

    def simulate(self, sim: Simulation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.layer.module
        source = self.argument(0, "input")
        x = sim.operand(args[0] if args else kwargs["input"], self.planner.values[source], self.layer.entry)
        folded = self.node in self.planner.folded.weights
        weight, bias = self.planner.folded.live(self.node) if folded else (module.weight, module.bias)
        padding, extra = _padding(module)
        x = F.pad(x, (padding, padding + extra))
        y = F.conv1d(x, sim.rows(weight), bias, module.stride, 0, module.dilation, module.groups)
        return sim.quantize(y, self.layer.out)

    def emit(self, emitter: Emitter) -> Any:
        x = self.argument(0, "input")
        source = self.planner.values[x]
        node = emitter.to(emitter.env[x], source.qparams, self.layer.entry, self.layer.name)
        return self.layer.emit(emitter, node)


def _windows(x: Tensor, module: nn.Conv1d) -> Tensor:
    """Every window that the convolution multiplies, [B, T', C * K] in the order of a weight row."""
    kernel, dilation, stride = module.kernel_size[0], module.dilation[0], module.stride[0]
    reach = dilation * (kernel - 1)
    padding, extra = _padding(module)
    x = nn.functional.pad(x, (padding, padding + extra))
    steps = (x.shape[2] - reach - 1) // stride + 1
    taps = [x[:, :, k * dilation : k * dilation + (steps - 1) * stride + 1 : stride] for k in range(kernel)]
    return torch.stack(taps, dim=-1).permute(0, 2, 1, 3).reshape(x.shape[0], steps, -1)


def _padding(module: nn.Conv1d) -> tuple[int, int]:
    """Padding on both sides, and how much more at the end."""
    if module.padding == "valid":
        return 0, 0
    if module.padding == "same":
        reach = module.dilation[0] * (module.kernel_size[0] - 1)
        return reach // 2, reach % 2  # torch pads the odd one at the end
    assert isinstance(module.padding, tuple)
    return int(module.padding[0]), 0
