"""max_pool1d: the maximum of windows along the last axis."""

import torch
from torch import Tensor

from irnn_tvm.ops.conv1d import conv1d_length
from irnn_tvm.ops.library import irnn_op


@irnn_op
def max_pool1d(x: Tensor, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """y[b, c, t] = max_k x[b, c, t * stride + k * dilation - padding], positions outside of the sequence left out.

    x int8/int16 [B, C, T] -> [B, C, T'], same scale and zero point. 2 * padding <= kernel, so no window is empty.
    """
    padded = torch.nn.functional.pad(x, (padding, padding), value=torch.iinfo(x.dtype).min)
    steps = conv1d_length(x.shape[2], kernel, stride, padding, dilation)
    taps = [
        padded[:, :, k * dilation : k * dilation + (steps - 1) * stride + 1 : stride] for k in range(kernel)
    ]
    return torch.stack(taps).amax(0).contiguous()


@max_pool1d.register_fake
def _(x: Tensor, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    steps = conv1d_length(x.shape[2], kernel, stride, padding, dilation)
    return x.new_empty((x.shape[0], x.shape[1], steps))
