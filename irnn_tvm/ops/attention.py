"""attention: scaled dot-product attention of several heads, one query row after the other."""

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, round_shift, saturate
from irnn_tvm.ops.library import irnn_op
from irnn_tvm.ops.softmax import WEIGHT_BITS, exponentials, normalised, valid_keys


@irnn_op
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None,
    table: Tensor,
    heads: int,
    q_zp: int,
    v_zp: int,
    mult: int,
    shift: int,
    table_shift: int,
    causal: bool,
    out_mult: int,
    out_shift: int,
    out_zp: int,
    out_bits: int,
) -> Tensor:
    """q int8 [B, Tq, D], k int8 [B, Tk, D], v int8 [B, Tk, V] -> int8/int16 [B, Tq, V]; D and V split in heads.

    Per head: score[i, j] = sum_d (q[i, d] - q_zp) * k[j, d]. (The zero point of k adds the same to every score of a
    row, which softmax does not see.) w = normalised(exponentials(score)) with 22 fraction bits, mult / 2**shift =
    scale of q * scale of k * scale of the scores * 2**11; lengths, causal, table: as in `softmax`.
    y[i, d] = sat(rs(sum_j w[i, j] * (v[j, d] - v_zp) * out_mult, out_shift) + out_zp).
    lengths has B elements, or B / g of them, each for g rows of the batch in turn (heads that are part of the batch).
    A row without a valid key gives out_zp, the real value 0.
    """
    batch, rows, _ = q.shape
    # Integers in float64 are exact far beyond these sums, on every device.
    split = [t.double().reshape(batch, t.shape[1], heads, -1).transpose(1, 2) for t in (q, k, v)]
    scores = ((split[0] - q_zp) @ split[1].transpose(2, 3)).long()
    if lengths is not None:
        lengths = lengths.repeat_interleave(batch // lengths.shape[0])
    e = exponentials(scores, valid_keys(lengths, causal, scores), mult, shift, table, table_shift)
    acc = (normalised(e, WEIGHT_BITS).double() @ (split[2] - v_zp)).long()
    y = saturate(round_shift(acc * out_mult, out_shift) + out_zp, out_bits)
    return y.transpose(1, 2).reshape(batch, rows, v.shape[2]).contiguous()


@attention.register_fake
def _(  # type: ignore[no-untyped-def]
    q, k, v, lengths, table, heads, q_zp, v_zp, mult, shift, table_shift, causal, out_mult, out_shift, out_zp, out_bits
):  # fmt: skip
    torch._check(k.shape[0] == q.shape[0], lambda: "the keys' batch differs from the queries'")
    torch._check(v.shape[0] == q.shape[0], lambda: "the values' batch differs from the queries'")
    torch._check(v.shape[1] == k.shape[1], lambda: "there are as many values as keys")
    if lengths is not None:
        torch._check(q.shape[0] % lengths.shape[0] == 0, lambda: "the lengths do not divide the batch")
    return q.new_empty((q.shape[0], q.shape[1], v.shape[2]), dtype=DTYPES[out_bits])
