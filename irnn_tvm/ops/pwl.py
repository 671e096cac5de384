"""pwl: a scalar function as a piecewise-linear table (the paper's adaptive, quantization-aware activation)."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op


def evaluate_pwl(x: Tensor, table: Tensor, shift: int, out_bits: int) -> Tensor:
    """y = sat((slope * (x - knot) + (value << shift) + 2**(shift-1)) >> shift) with the last knot <= x.

    x int8/int16 of any shape; table int16 [3, P]: knots (ascending, the first is the smallest x), slopes, values.
    """
    knots, slopes, values = table.long().unbind(0)
    q = x.long()
    piece = (torch.searchsorted(knots.contiguous(), q.contiguous(), right=True) - 1).clamp(min=0)
    line = slopes[piece] * (q - knots[piece]) + (values[piece] << shift)
    return saturate(round_shift(line, shift), out_bits)


@irnn_op
def pwl(x: Tensor, table: Tensor, shift: int, out_bits: int) -> Tensor:
    """See `evaluate_pwl`."""
    return evaluate_pwl(x, table, shift, out_bits)


@pwl.register_fake
def _(x: Tensor, table: Tensor, shift: int, out_bits: int) -> Tensor:
    return x.new_empty(x.shape, dtype=DTYPES[out_bits])
