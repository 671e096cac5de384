"""layer_norm: rows normalised by their mean and standard deviation (Ba et al., Layer Normalization)."""

from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES
from irnn_tvm.ops.library import irnn_op
from irnn_tvm.ops.normalize import layer_norm_rows


@irnn_op
def layer_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: int, shift: int, out_zp: int, out_bits: int
) -> Tensor:
    """y = sat(rs(u * gamma + beta * 2**16, shift) + out_zp) with u = (x - mean) / sqrt(var + eps), per row.

    x int8/int16 [..., N], rows are the last axis; gamma, beta int32 [N];
    eps = round(eps_real * N**2 / scale**2), at least 1. The zero point of x cancels. u has 16 fraction bits and comes
    from exact sums: see irnn_tvm/ops/normalize.py. A constant row gives sat(rs(beta * 2**16, shift) + out_zp).
    """
    return layer_norm_rows(x, gamma, beta, eps, shift, out_zp, out_bits)


@layer_norm.register_fake
def _(x: Tensor, gamma: Tensor, beta: Tensor, eps: int, shift: int, out_zp: int, out_bits: int) -> Tensor:
    return x.new_empty(x.shape, dtype=DTYPES[out_bits])
