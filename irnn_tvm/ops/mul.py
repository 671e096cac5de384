"""mul: elementwise product with one rounding."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op


@irnn_op
def mul(
    a: Tensor, b: Tensor, a_zp: int, b_zp: int, mult: int, shift: int, out_zp: int, out_bits: int
) -> Tensor:
    """y = sat(((a - a_zp) * (b - b_zp) * mult + 2**(shift-1) >> shift) + out_zp); a, b broadcast.

    int16 operands with extreme zero points: |a - a_zp| < 2**16, so the product of both and a 31-bit multiplier can
    reach 2**63; the quantizer keeps 16-bit zero points at 0, which bounds it by 2**61.
    """
    product = (a.long() - a_zp) * (b.long() - b_zp)
    return saturate(round_shift(product * mult, shift) + out_zp, out_bits)


@mul.register_fake
def _(
    a: Tensor, b: Tensor, a_zp: int, b_zp: int, mult: int, shift: int, out_zp: int, out_bits: int
) -> Tensor:
    return a.new_empty(torch.broadcast_shapes(a.shape, b.shape), dtype=DTYPES[out_bits])
