"""avg_pool1d: the mean of windows along the last axis, with one rounding."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.conv1d import conv1d_length
from irnn_tvm.ops.library import irnn_op


@irnn_op
def avg_pool1d(
    x: Tensor,
    kernel: int,
    stride: int,
    padding: int,
    in_zp: int,
    mult: int,
    shift: int,
    out_zp: int,
    out_bits: int,
) -> Tensor:
    """y[b, c, t] = sat(rs(sum_k (x[b, c, t * stride + k - padding] - in_zp) * mult, shift) + out_zp).

    x int8/int16 [B, C, T] -> [B, C, T']. Outside of the sequence x is in_zp (the quantized 0). mult / 2**shift holds
    the ratio of the scales and the division by the window's size.
    """
    conv1d_length(x.shape[2], kernel, stride, padding, 1)  # raises for a sequence that is too short
    padded = torch.nn.functional.pad(x, (padding, padding), value=in_zp)
    total = (padded.unfold(-1, kernel, stride).long() - in_zp).sum(-1)
    return saturate(round_shift(total * mult, shift) + out_zp, out_bits)


@avg_pool1d.register_fake
def _(
    x: Tensor,
    kernel: int,
    stride: int,
    padding: int,
    in_zp: int,
    mult: int,
    shift: int,
    out_zp: int,
    out_bits: int,
) -> Tensor:
    steps = conv1d_length(x.shape[2], kernel, stride, padding, 1)
    return x.new_empty((x.shape[0], x.shape[1], steps), dtype=DTYPES[out_bits])
