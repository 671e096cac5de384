"""A convolution over time on integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irnn_tvm.quantization.modules.shapes import check_dtype, check_size


class IntegerConv1d(nn.Module):
    """x int8 [B, C, T] (or [C, T]) -> int8/int16 [B, O, T'] ([O, T']).

    weight int8 [O, C/groups, K], bias and mult int32 [O]. Pads with in_zp, the quantized 0, and with
    `extra` more of it at the end: what padding='same' needs when the padding is not the same on both sides.
    """

    weight: Tensor
    bias: Tensor
    mult: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        mult: Tensor,
        shift: int,
        in_zp: int,
        out_zp: int,
        out_bits: int,
        stride: int,
        padding: int,
        dilation: int,
        groups: int,
        extra: int,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("mult", mult)
        self.shift = shift
        self.in_zp = in_zp
        self.out_zp = out_zp
        self.out_bits = out_bits
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, self.out_bits)

    def run(self, x: Tensor, bits: int) -> Tensor:
        """The layer with another output width (32: before saturation, for the report)."""
        check_dtype(x, torch.int8, "conv1d input")
        check_size(x, -2, self.weight.shape[1] * self.groups, "conv1d input")
        batched = x.dim() == 3
        x = x if batched else x.unsqueeze(0)
        if self.extra:
            end = x.new_full((x.shape[0], x.shape[1], self.extra), self.in_zp)
            x = torch.ops.irnn.concat([x, end], 2)
        y: Tensor = torch.ops.irnn.conv1d(
            x, self.weight, self.bias, self.mult, self.shift, self.in_zp, self.out_zp, bits,
            self.stride, self.padding, self.dilation, self.groups,
        )  # fmt: skip
        return y if batched else y.squeeze(0)

    def extra_repr(self) -> str:
        return f"weight={tuple(self.weight.shape)}, stride={self.stride}, out_bits={self.out_bits}"
