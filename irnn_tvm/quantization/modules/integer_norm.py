"""LayerNorm and MadNorm on integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irnn_tvm.quantization.modules.shapes import check_dtype, check_size

DTYPES = {8: torch.int8, 16: torch.int16}


class IntegerNorm(nn.Module):
    """x int8/int16 [..., N] -> int8/int16 [..., N]. kind: "layer" or "mad"; gamma, beta int32 [N]; see
    docs/numerics.md.
    """

    gamma: Tensor
    beta: Tensor

    def __init__(
        self,
        kind: str,
        gamma: Tensor,
        beta: Tensor,
        eps: int,
        shift: int,
        in_bits: int,
        out_zp: int,
        out_bits: int,
    ) -> None:
        super().__init__()
        self.register_buffer("gamma", gamma)
        self.register_buffer("beta", beta)
        self.kind = kind
        self.eps = eps
        self.shift = shift
        self.in_bits = in_bits
        self.out_zp = out_zp
        self.out_bits = out_bits

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, self.out_bits)

    def run(self, x: Tensor, bits: int) -> Tensor:
        """The layer with another output width (32: before saturation, for the report)."""
        check_dtype(x, DTYPES[self.in_bits], f"{self.kind} norm input")
        check_size(x, -1, self.gamma.shape[0], f"{self.kind} norm input")
        op = torch.ops.irnn.layer_norm if self.kind == "layer" else torch.ops.irnn.mad_norm
        y: Tensor = op(x, self.gamma, self.beta, self.eps, self.shift, self.out_zp, bits)
        return y

    def extra_repr(self) -> str:
        return f"{self.kind}, features={self.gamma.shape[0]}, out_bits={self.out_bits}"
