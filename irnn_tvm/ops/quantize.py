"""quantize and dequantize: the two doors between floats and integers. Host side only, never in a built library."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, limits
from irnn_tvm.ops.library import irnn_op


@irnn_op
def quantize(x: Tensor, scale: float, zp: int, bits: int) -> Tensor:
    """q = sat(floor(x / scale + 0.5) + zp). x float of any shape."""
    lo, hi = limits(bits)
    q = torch.floor(x.double() / scale + 0.5) + zp
    return q.clamp(lo, hi).to(DTYPES[bits]).contiguous()


@quantize.register_fake
def _(x: Tensor, scale: float, zp: int, bits: int) -> Tensor:
    return x.new_empty(x.shape, dtype=DTYPES[bits])


@irnn_op
def dequantize(q: Tensor, scale: float, zp: int) -> Tensor:
    """real = scale * (q - zp) as float32. q of any integer type and shape."""
    return (q.double() - zp).mul(scale).float().contiguous()


@dequantize.register_fake
def _(q: Tensor, scale: float, zp: int) -> Tensor:
    return q.new_empty(q.shape, dtype=torch.float32)
