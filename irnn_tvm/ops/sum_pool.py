"""sum_pool: the sum over one axis, with one rounding."""

from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op


@irnn_op
def sum_pool(x: Tensor, dim: int, in_zp: int, mult: int, shift: int, out_zp: int, out_bits: int) -> Tensor:
    """y = sat(rs(sum_t (x[t] - in_zp) * mult, shift) + out_zp) over axis `dim`, which goes.

    x int8/int16, rank at least 1. mult / 2**shift is the ratio of the scales.
    """
    total = x.long().sum(dim) - x.shape[dim] * in_zp
    return saturate(round_shift(total * mult, shift) + out_zp, out_bits)


@sum_pool.register_fake
def _(x: Tensor, dim: int, in_zp: int, mult: int, shift: int, out_zp: int, out_bits: int) -> Tensor:
    axis = dim % x.dim()
    return x.new_empty((*x.shape[:axis], *x.shape[axis + 1 :]), dtype=DTYPES[out_bits])
