"""max_pool: the maximum over one axis."""

from torch import Tensor

from irnn_tvm.ops.library import irnn_op


@irnn_op
def max_pool(x: Tensor, dim: int) -> Tensor:
    """y = max over axis `dim`, which goes; same type, scale and zero point as x (int8/int16, rank at least 1)."""
    return x.amax(dim).contiguous()


@max_pool.register_fake
def _(x: Tensor, dim: int) -> Tensor:
    axis = dim % x.dim()
    return x.new_empty((*x.shape[:axis], *x.shape[axis + 1 :]))
