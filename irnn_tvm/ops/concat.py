"""concat: tensors of equal dtype and qparams along one axis; a pure copy."""

from collections.abc import Sequence

import torch
from torch import Tensor

from irnn_tvm.ops.library import irnn_op


@irnn_op
def concat(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """y = torch.cat(tensors, dim)."""
    return torch.cat(list(tensors), dim)


@concat.register_fake
def _(tensors: Sequence[Tensor], dim: int) -> Tensor:
    return torch.cat(list(tensors), dim)
