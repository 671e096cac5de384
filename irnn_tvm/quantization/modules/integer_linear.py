"""A fully connected layer on integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irnn_tvm.quantization.modules.shapes import check_dtype, check_size


class IntegerLinear(nn.Module):
    """x int8 [..., K] -> int8/int16 [..., N]. weight int8 [N, K], bias and mult int32 [N]; see
    docs/numerics.md.
    """

    weight: Tensor
    bias: Tensor
    mult: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor, mult: Tensor, shift: int, out_zp: int, out_bits: int
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("mult", mult)
        self.shift = shift
        self.out_zp = out_zp
        self.out_bits = out_bits

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, self.out_bits)

    def run(self, x: Tensor, bits: int) -> Tensor:
        """The layer with another output width (32: before saturation, for the report)."""
        check_dtype(x, torch.int8, "linear input")
        check_size(x, -1, self.weight.shape[1], "linear input")
        y: Tensor = torch.ops.irnn.linear(x, self.weight, self.bias, self.mult, self.shift, self.out_zp, bits)
        return y

    def extra_repr(self) -> str:
        rows, columns = self.weight.shape
        return f"in_features={columns}, out_features={rows}, out_bits={self.out_bits}"
