"""clamp: relu (lo = zero point), relu6, hardtanh on the quantized grid."""

from torch import Tensor

from irnn_tvm.ops.library import irnn_op


@irnn_op
def clamp(x: Tensor, lo: int, hi: int) -> Tensor:
    """y = min(max(x, lo), hi), same dtype and qparams as x."""
    return x.clamp(lo, hi).contiguous()


@clamp.register_fake
def _(x: Tensor, lo: int, hi: int) -> Tensor:
    return x.new_empty(x.shape)
