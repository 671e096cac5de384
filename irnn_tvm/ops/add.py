"""add: sum of two tensors of different scales with one rounding."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op


@irnn_op
def add(
    a: Tensor,
    b: Tensor,
    a_zp: int,
    b_zp: int,
    a_mult: int,
    b_mult: int,
    shift: int,
    out_zp: int,
    out_bits: int,
) -> Tensor:
    """y = sat(((a - a_zp) * a_mult + (b - b_zp) * b_mult + 2**(shift-1) >> shift) + out_zp); a, b broadcast."""
    total = (a.long() - a_zp) * a_mult + (b.long() - b_zp) * b_mult
    return saturate(round_shift(total, shift) + out_zp, out_bits)


@add.register_fake
def _(
    a: Tensor,
    b: Tensor,
    a_zp: int,
    b_zp: int,
    a_mult: int,
    b_mult: int,
    shift: int,
    out_zp: int,
    out_bits: int,
) -> Tensor:
    return a.new_empty(torch.broadcast_shapes(a.shape, b.shape), dtype=DTYPES[out_bits])
