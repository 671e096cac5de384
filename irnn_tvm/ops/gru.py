"""gru: one integer GRU layer in one direction over a sequence, with the reset gate after or before the product."""

from collections.abc import Sequence

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, matmul_int8, round_shift, saturate
from irnn_tvm.ops.library import irnn_op
from irnn_tvm.ops.pwl import evaluate_pwl


@irnn_op
def gru(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    bias_hn: Tensor,
    mult_ih: Tensor,
    mult_hh: Tensor,
    gate_shift: Sequence[int],
    gate_zp: Sequence[int],
    gate_bits: int,
    tables: Tensor,
    table_shift: Sequence[int],
    act_zp: Sequence[int],
    hn_shift: int,
    rn_mult: int,
    rh_mult: int,
    rh_shift: int,
    rh_zp: int,
    z_one: int,
    n_mult: int,
    h_mult: int,
    state_shift: int,
    state_zp: int,
    state_bits: int,
    out_mult: int,
    out_shift: int,
    out_zp: int,
    reset_after: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Gates in torch's order r, z, n; rs(v, s) = (v + 2**(s-1)) >> s.

    x int8 [T, B, X], h0 int8/int16 [B, H] (the state), w_ih int8 [3H, X], w_hh int8 [3H, H], bias, mult_ih, mult_hh
    int32 [3H], bias_hn int32 [H], tables int16 [3, 3, P].
    h8 = sat8(rs((h - state_zp) out_mult, out_shift) + out_zp) is what the products and the output see.
    r, z: sat(rs((w_ih x + bias) mult_ih + (w_hh h8) mult_hh, gate_shift) + gate_zp), then pwl.
    reset_after: hn = sat(rs((w_hh h8 + bias_hn) mult_hh, hn_shift)),
                 n = pwl(sat(rs((w_ih x + bias) mult_ih + (r - zr) hn rn_mult, gate_shift) + gate_zp)).
    reset before: rh = sat8(rs((r - zr)(h - state_zp) rh_mult, rh_shift) + rh_zp),
                  n = pwl(sat(rs((w_ih x + bias) mult_ih + (w_hh rh) mult_hh, gate_shift) + gate_zp)).
    h' = sat(rs((z_one - (z - zz))(n - zn) n_mult + (z - zz)(h - state_zp) h_mult, state_shift) + state_zp).
    Returns y int8 [T, B, H] (in input order, also when reverse) and the last state [B, H].
    """
    steps, batch, _ = x.shape
    hidden = h0.shape[1]
    m_ih, m_hh = mult_ih.long(), mult_hh.long()
    acc_x = ((matmul_int8(x, w_ih) + bias.long()) * m_ih).reshape(steps, batch, 3, hidden)
    h = h0
    out = x.new_empty((steps, batch, hidden), dtype=torch.int8)

    def activate(acc: Tensor, k: int) -> Tensor:
        pre = saturate(round_shift(acc, gate_shift[k]) + gate_zp[k], gate_bits)
        return evaluate_pwl(pre, tables[k], table_shift[k], gate_bits).long() - act_zp[k]

    def output(state: Tensor) -> Tensor:
        return saturate(round_shift((state.long() - state_zp) * out_mult, out_shift) + out_zp, 8)

    h8 = output(h)
    rows = 3 * hidden if reset_after else 2 * hidden
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        acc_h = matmul_int8(h8, w_hh[:rows]).reshape(batch, -1, hidden)
        r = activate(acc_x[t, :, 0] + acc_h[:, 0] * m_hh[:hidden], 0)
        z = activate(acc_x[t, :, 1] + acc_h[:, 1] * m_hh[hidden : 2 * hidden], 1)
        h_real = h.long() - state_zp
        if reset_after:
            hn = round_shift((acc_h[:, 2] + bias_hn.long()) * m_hh[2 * hidden :], hn_shift)
            n = activate(acc_x[t, :, 2] + r * saturate(hn, gate_bits).long() * rn_mult, 2)
        else:
            rh = saturate(round_shift(r * h_real * rh_mult, rh_shift) + rh_zp, 8)
            n = activate(acc_x[t, :, 2] + matmul_int8(rh, w_hh[2 * hidden :]) * m_hh[2 * hidden :], 2)
        mix = (z_one - z) * n * n_mult + z * h_real * h_mult
        h = saturate(round_shift(mix, state_shift) + state_zp, state_bits)
        h8 = output(h)
        out[t] = h8
    return out, h.clone()


@gru.register_fake
def _(  # type: ignore[no-untyped-def]
    x, h0, w_ih, w_hh, bias, bias_hn, mult_ih, mult_hh, gate_shift, gate_zp, gate_bits, tables, table_shift, act_zp,
    hn_shift, rn_mult, rh_mult, rh_shift, rh_zp, z_one, n_mult, h_mult, state_shift, state_zp, state_bits,
    out_mult, out_shift, out_zp, reset_after, reverse,
):  # fmt: skip
    torch._check(h0.shape[0] == x.shape[1], lambda: "the state's batch differs from the input's")
    return (
        x.new_empty((x.shape[0], x.shape[1], h0.shape[1]), dtype=torch.int8),
        x.new_empty((x.shape[1], h0.shape[1]), dtype=DTYPES[state_bits]),
    )
