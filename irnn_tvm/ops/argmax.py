"""argmax: the place of the maximum along one axis."""

import torch
from torch import Tensor

from irnn_tvm.ops.library import irnn_op


@irnn_op
def argmax(x: Tensor, dim: int) -> Tensor:
    """Index int32 of the largest value along axis `dim`, which goes; of equal values the first one. x int8/int16."""
    axis = dim % x.dim()
    size = x.shape[axis]
    rank = torch.arange(size, 0, -1, device=x.device).reshape([-1] + [1] * (x.dim() - 1 - axis))
    first = torch.where(x == x.amax(axis, keepdim=True), rank, 0).amax(axis)
    return (size - first).int().contiguous()


@argmax.register_fake
def _(x: Tensor, dim: int) -> Tensor:
    axis = dim % x.dim()
    return x.new_empty((*x.shape[:axis], *x.shape[axis + 1 :]), dtype=torch.int32)
