"""mean_pool: the mean over one axis, with one rounding. Its length may be known at run time only."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op
from irnn_tvm.ops.normalize import integer_reciprocal


def mean_multiplier(length: int, mult: int, shift: int) -> tuple[int, int]:
    """(M, s) with M * 2**-s ~= mult * 2**-shift / length: M = rs(mult * r, 30), s = shift + floor(log2 length), where
    1/length ~= r * 2**-(30 + floor(log2 length)) (`integer_reciprocal`)."""
    r, scale = integer_reciprocal(torch.tensor(length, dtype=torch.int64))
    return int(round_shift(mult * r, 30)), shift + int(scale) - 30


@irnn_op
def mean_pool(x: Tensor, dim: int, in_zp: int, mult: int, shift: int, out_zp: int, out_bits: int) -> Tensor:
    """y = sat(rs(sum_t (x[t] - in_zp) * M, s) + out_zp) over axis `dim`, which goes; (M, s) of `mean_multiplier`.

    x int8/int16, rank at least 1. mult / 2**shift is the ratio of the scales.
    """
    length = x.shape[dim]
    factor, total_shift = mean_multiplier(length, mult, shift)
    total = x.long().sum(dim) - length * in_zp
    return saturate(round_shift(total * factor, total_shift) + out_zp, out_bits)


@mean_pool.register_fake
def _(x: Tensor, dim: int, in_zp: int, mult: int, shift: int, out_zp: int, out_bits: int) -> Tensor:
    axis = dim % x.dim()
    return x.new_empty((*x.shape[:axis], *x.shape[axis + 1 :]), dtype=DTYPES[out_bits])
