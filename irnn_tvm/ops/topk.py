"""topk: the k largest values of every row, and where they are."""

import torch
from torch import Tensor

from irnn_tvm.ops.library import irnn_op


@irnn_op
def topk(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values (type of x) and indices (int32), both [..., k], of the k largest of the last axis, largest first.

    x int8/int16 [..., N], 1 <= k <= N. Equal values come in the order of their indices.
    """
    values, indices = torch.sort(x, dim=-1, descending=True, stable=True)
    return values[..., :k].contiguous(), indices[..., :k].int().contiguous()


@topk.register_fake
def _(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    shape = (*x.shape[:-1], k)
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int32)
