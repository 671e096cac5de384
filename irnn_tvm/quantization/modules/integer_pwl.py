"""A nonlinear activation as a piecewise-linear table."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class IntegerPWL(nn.Module):
    """x int8/int16 of any shape -> int8/int16. table int16 [3, P]: knots, slopes, values."""

    table: Tensor

    def __init__(self, table: Tensor, shift: int, out_bits: int) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.shift = shift
        self.out_bits = out_bits

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.irnn.pwl(x, self.table, self.shift, self.out_bits)
        return y

    def extra_repr(self) -> str:
        return f"pieces={self.table.shape[1]}, out_bits={self.out_bits}"
