"""linear: int8 matrix product with a rescale per output row."""

from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, matmul_int8, round_shift, saturate
from irnn_tvm.ops.library import irnn_op


@irnn_op
def linear(
    x: Tensor, w: Tensor, bias: Tensor, mult: Tensor, shift: int, out_zp: int, out_bits: int
) -> Tensor:
    """y[n] = sat(((sum_k w[n,k] * x[k] + bias[n]) * mult[n] + 2**(shift-1) >> shift) + out_zp).

    x int8 [..., K], w int8 [N, K], bias and mult int32 [N] -> [..., N]. The input's zero point is folded in bias.
    """
    acc = matmul_int8(x, w) + bias.long()
    return saturate(round_shift(acc * mult.long(), shift) + out_zp, out_bits)


@linear.register_fake
def _(x: Tensor, w: Tensor, bias: Tensor, mult: Tensor, shift: int, out_zp: int, out_bits: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], w.shape[0]), dtype=DTYPES[out_bits])
