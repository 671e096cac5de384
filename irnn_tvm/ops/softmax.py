"""softmax: exponentials from a table, an integer sum and a reciprocal by Newton's method. No division, no float."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op
from irnn_tvm.ops.normalize import integer_reciprocal
from irnn_tvm.ops.pwl import evaluate_pwl
from irnn_tvm.ops.pwl_fit import PwlTable, fit
from irnn_tvm.ops.qparams import QParams

# Grid of the exponential: distances below the maximum in [0, 16) as negative int16, results in (0, 1) as int16.
DISTANCE = QParams(2.0**-11, 0, 16)
EXPONENTIAL = QParams(2.0**-15, 0, 16)
FARTHEST = 32767
# Fraction bits of the weights inside an attention: 255 times their sum fits int32 for 2**20 keys.
WEIGHT_BITS = 22
# Fraction bits of the weights that softmax returns, by width: scale 2**-15; scale 2**-8 with zero point -128.
FRACTION = {8: 8, 16: 15}
ZERO_POINT = {8: -128, 16: 0}


@cache
def exp_table(pieces: int) -> PwlTable:
    """exp on the grids above. One table serves every softmax, because scores are rescaled to its grid first."""
    return fit(lambda x: np.exp(np.minimum(x, 0.0)), pieces, DISTANCE, EXPONENTIAL)


def weights_qparams(bits: int) -> QParams:
    """Grid of the weights that `softmax` returns."""
    return QParams(2.0 ** -FRACTION[bits], ZERO_POINT[bits], bits)


def valid_keys(lengths: Tensor | None, causal: bool, scores: Tensor) -> Tensor | None:
    """bool, broadcastable to scores [B, ..., R, N]: key j of row i is valid when j < lengths[b] (limited to 0..N) and,
    if causal, j <= i. None: all are.
    """
    keys = torch.arange(scores.shape[-1], device=scores.device)
    valid = None
    if causal:
        valid = keys <= torch.arange(scores.shape[-2], device=scores.device).unsqueeze(1)
    if lengths is not None:
        below = keys < lengths.long().reshape(-1, *[1] * (scores.dim() - 1))
        valid = below if valid is None else valid & below
    return valid


def exponentials(
    scores: Tensor, valid: Tensor | None, mult: int, shift: int, table: Tensor, table_shift: int
) -> Tensor:
    """e = max(pwl(-min(rs((max - score) * mult, shift), 32767)), 0), 0 for keys that are not valid.

    scores: int64 [..., N] integers; the maximum is that of the valid keys. table: int16 [3, P] of exp. Returns int64.
    """
    if valid is not None:
        lowest = torch.iinfo(torch.int32).min
        best = torch.where(valid, scores, lowest).amax(-1, keepdim=True)
        scores = torch.where(valid, scores, best)
    distance = round_shift((scores.amax(-1, keepdim=True) - scores) * mult, shift).clamp(max=FARTHEST)
    e = evaluate_pwl((-distance).to(torch.int16), table, table_shift, 16).long().clamp(min=0)
    return e if valid is None else torch.where(valid, e, 0)


def normalised(e: Tensor, bits: int) -> Tensor:
    """w = rs(e * r, s - bits) with 1 / sum(e) ~= r * 2**-s: weights with `bits` fraction bits, all 0 if every e is."""
    r, s = integer_reciprocal(e.sum(-1, keepdim=True).clamp(min=1))
    rest = s - bits
    return (e * r + (torch.ones_like(rest) << (rest - 1))) >> rest


@irnn_op
def softmax(
    x: Tensor,
    lengths: Tensor | None,
    table: Tensor,
    mult: int,
    shift: int,
    table_shift: int,
    causal: bool,
    out_bits: int,
) -> Tensor:
    """Weights over the last axis of x int8/int16 [..., N]: `normalised(exponentials(x))`, 0 where a key is not valid.

    lengths: None or int32/int64 [B], x [B, ..., N]: keys from lengths[b] on are not valid. causal: key j of row i
    (second last axis) is valid for j <= i. mult / 2**shift = scale of x * 2**11. table: int16 [3, P] of exp.
    Returns int16 with scale 2**-15 or int8 with scale 2**-8 and zero point -128; a row without a valid key is all 0.
    """
    e = exponentials(x.long(), valid_keys(lengths, causal, x), mult, shift, table, table_shift)
    return saturate(normalised(e, FRACTION[out_bits]) + ZERO_POINT[out_bits], out_bits)


@softmax.register_fake
def _(
    x: Tensor,
    lengths: Tensor | None,
    table: Tensor,
    mult: int,
    shift: int,
    table_shift: int,
    causal: bool,
    out_bits: int,
) -> Tensor:
    if lengths is not None:
        torch._check(lengths.shape[0] == x.shape[0], lambda: "as many lengths as sequences are needed")
    return x.new_empty(x.shape, dtype=DTYPES[out_bits])
