"""additive_scores: scores of additive (Bahdanau) attention from projected queries and keys."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op
from irnn_tvm.ops.pwl import evaluate_pwl


@irnn_op
def additive_scores(
    q: Tensor,
    k: Tensor,
    weight: Tensor,
    table: Tensor,
    q_zp: int,
    k_zp: int,
    q_mult: int,
    k_mult: int,
    pre_shift: int,
    pre_zp: int,
    pre_bits: int,
    table_shift: int,
    mult: int,
    shift: int,
    out_zp: int,
    out_bits: int,
) -> Tensor:
    """score[i, j] = sum_h weight[h] * tanh(q[i, h] + k[j, h]), without a tensor of the size Tq * Tk * H.

    q int8/int16 [B, Tq, H], k int8/int16 [B, Tk, H], weight int8 [H], table int16 [3, P] of tanh with int8 results
    (scale 2**-7, zero point 0) -> int16 (or int8) [B, Tq, Tk].
    pre = sat(rs((q - q_zp) * q_mult + (k - k_zp) * k_mult, pre_shift) + pre_zp) with pre_bits,
    y = sat(rs(sum_h weight[h] * pwl(pre) * mult, shift) + out_zp).
    """
    left = (q.long() - q_zp) * q_mult
    right = (k.long() - k_zp) * k_mult
    rows = []
    for i in range(q.shape[1]):
        pre = saturate(round_shift(left[:, i : i + 1] + right, pre_shift) + pre_zp, pre_bits)
        rows.append((evaluate_pwl(pre, table, table_shift, 8).long() * weight.long()).sum(-1))
    return saturate(round_shift(torch.stack(rows, 1) * mult, shift) + out_zp, out_bits)


@additive_scores.register_fake
def _(  # type: ignore[no-untyped-def]
    q, k, weight, table, q_zp, k_zp, q_mult, k_mult, pre_shift, pre_zp, pre_bits, table_shift, mult, shift, out_zp,
    out_bits,
):  # fmt: skip
    torch._check(k.shape[0] == q.shape[0], lambda: "the keys' batch differs from the queries'")
    torch._check(q.shape[2] == weight.shape[0], lambda: "queries have one feature per weight")
    torch._check(k.shape[2] == weight.shape[0], lambda: "keys have one feature per weight")
    return q.new_empty((q.shape[0], q.shape[1], k.shape[1]), dtype=DTYPES[out_bits])
