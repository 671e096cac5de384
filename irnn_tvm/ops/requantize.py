"""requantize: change scale, zero point or width of a tensor."""

from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op


@irnn_op
def requantize(x: Tensor, in_zp: int, mult: int, shift: int, out_zp: int, out_bits: int) -> Tensor:
    """y = sat(((x - in_zp) * mult + 2**(shift-1) >> shift) + out_zp). x int8/int16/int32 of any shape."""
    return saturate(round_shift((x.long() - in_zp) * mult, shift) + out_zp, out_bits)


@requantize.register_fake
def _(x: Tensor, in_zp: int, mult: int, shift: int, out_zp: int, out_bits: int) -> Tensor:
    return x.new_empty(x.shape, dtype=DTYPES[out_bits])
