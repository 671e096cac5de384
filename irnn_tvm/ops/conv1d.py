"""conv1d: int8 convolution over time with a rescale per output channel; depthwise is groups = channels."""

import torch
from torch import Tensor

from irnn_tvm.errors import InputError
from irnn_tvm.ops.arithmetic import DTYPES, matmul_int8, round_shift, saturate
from irnn_tvm.ops.library import irnn_op


def conv1d_length(length: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Number of output steps, as torch.nn.Conv1d. Raises InputError for a sequence that is shorter than a window."""
    steps = (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if isinstance(steps, int) and steps < 1:
        span = dilation * (kernel - 1) + 1
        raise InputError(
            f"a sequence of {length} steps is shorter than a window of {span}, padded by {padding}"
        )
    return steps


@irnn_op
def conv1d(
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    mult: Tensor,
    shift: int,
    in_zp: int,
    out_zp: int,
    out_bits: int,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
) -> Tensor:
    """x int8 [B, C, T], w int8 [O, C/groups, K], bias and mult int32 [O] -> [B, O, T'].

    Pads with in_zp (the quantized 0), so the zero-point correction folded in bias is the same at every position.
    """
    b, c, _ = x.shape
    o, _, k = w.shape
    padded = torch.nn.functional.pad(x, (padding, padding), value=in_zp)
    t_out = conv1d_length(x.shape[2], k, stride, padding, dilation)
    taps = [padded[:, :, i * dilation : i * dilation + (t_out - 1) * stride + 1 : stride] for i in range(k)]
    windows = torch.stack(taps, dim=-1)  # [B, C, T', K]
    windows = windows.reshape(b, groups, c // groups, t_out, k).permute(0, 1, 3, 2, 4)
    windows = windows.reshape(b, groups, t_out, (c // groups) * k)
    rows = w.reshape(groups, o // groups, -1)
    acc = torch.stack([matmul_int8(windows[:, g], rows[g]) for g in range(groups)], dim=1)  # [B, G, T', O/G]
    acc = acc.permute(0, 1, 3, 2).reshape(b, o, t_out) + bias.long()[:, None]
    return saturate(round_shift(acc * mult.long()[:, None], shift) + out_zp, out_bits)


@conv1d.register_fake
def _(
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    mult: Tensor,
    shift: int,
    in_zp: int,
    out_zp: int,
    out_bits: int,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
) -> Tensor:
    t_out = conv1d_length(x.shape[2], w.shape[2], stride, padding, dilation)
    return x.new_empty((x.shape[0], w.shape[0], t_out), dtype=DTYPES[out_bits])
