"""matmul: the product of two activations."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, limits, round_shift, saturate
from irnn_tvm.ops.library import irnn_op


@irnn_op
def matmul(
    a: Tensor,
    b: Tensor,
    a_zp: int,
    b_zp: int,
    mult: int,
    shift: int,
    out_zp: int,
    out_bits: int,
    transpose_b: bool,
) -> Tensor:
    """y = sat(rs(sat_32(sum_k (a[m, k] - a_zp) * (b[k, n] - b_zp)) * mult, shift) + out_zp).

    a int8/int16 [..., M, K], b int8/int16 [..., K, N], or [..., N, K] if transpose_b, of equal leading sizes ->
    [..., M, N]. The sum saturates at 32 bits, which up to 33025 products of int8 by int8 cannot reach.
    """
    right = b.transpose(-1, -2) if transpose_b else b
    # Integers in float64 are exact up to 2**53: 2**21 products of the widest operands.
    total = ((a.double() - a_zp) @ (right.double() - b_zp)).long()
    return saturate(round_shift(total.clamp(*limits(32)) * mult, shift) + out_zp, out_bits)


@matmul.register_fake
def _(
    a: Tensor,
    b: Tensor,
    a_zp: int,
    b_zp: int,
    mult: int,
    shift: int,
    out_zp: int,
    out_bits: int,
    transpose_b: bool,
) -> Tensor:
    depth, columns = (b.shape[-1], b.shape[-2]) if transpose_b else (b.shape[-2], b.shape[-1])
    torch._check(a.shape[-1] == depth, lambda: "the inner sizes of the product differ")
    for left, right in zip(a.shape[:-2], b.shape[:-2], strict=True):
        torch._check(left == right, lambda: "the batch sizes of the product differ")
    return a.new_empty((*a.shape[:-1], columns), dtype=DTYPES[out_bits])
