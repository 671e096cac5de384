"""lstm: one integer LSTM layer in one direction over a sequence. Layers and directions are compositions of it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import DTYPES, matmul_int8, round_shift, saturate
from irnn_tvm.ops.library import irnn_op
from irnn_tvm.ops.pwl import evaluate_pwl


@irnn_op
def lstm(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    mult_ih: Tensor,
    mult_hh: Tensor,
    gate_shift: Sequence[int],
    gate_zp: Sequence[int],
    gate_bits: int,
    tables: Tensor,
    table_shift: Sequence[int],
    act_zp: Sequence[int],
    f_mult: int,
    i_mult: int,
    cell_shift: int,
    cell_zp: int,
    cell_bits: int,
    h_mult: int,
    h_shift: int,
    h_zp: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gates in torch's order i, f, g, o; rs(v, s) = (v + 2**(s-1)) >> s.

    x int8 [T, B, X], h0 int8 [B, H], c0 int8/int16 [B, H], w_ih int8 [4H, X], w_hh int8 [4H, H], bias, mult_ih and
    mult_hh int32 [4H], tables int16 [5, 3, P] (the gates, then tanh of the cell).
    Per step: pre = sat(rs((w_ih x + bias) * mult_ih + (w_hh h) * mult_hh, gate_shift) + gate_zp), a = pwl(pre),
    c' = sat(rs((f-zf)(c-cell_zp) f_mult + (i-zi)(g-zg) i_mult, cell_shift) + cell_zp), tc = pwl(c'),
    h' = sat8(rs((o-zo)(tc-ztc) h_mult, h_shift) + h_zp). Zero points of x and h are folded in bias.
    Returns y int8 [T, B, H] (in input order, also when reverse), the last h int8 [B, H] and the last c [B, H].
    """
    steps, batch, _ = x.shape
    hidden = h0.shape[1]
    per_gate = (1, 4, 1)
    shifts = torch.tensor(list(gate_shift), device=x.device).reshape(per_gate)
    halves = torch.ones_like(shifts) << (shifts - 1)
    zps = torch.tensor(list(gate_zp), device=x.device).reshape(per_gate)
    m_ih, m_hh = mult_ih.long(), mult_hh.long()
    acc_x = (matmul_int8(x, w_ih) + bias.long()) * m_ih  # [T, B, 4H]
    h, c = h0, c0
    out = x.new_empty((steps, batch, hidden), dtype=torch.int8)
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        acc = (acc_x[t] + matmul_int8(h, w_hh) * m_hh).reshape(batch, 4, hidden)
        pre = saturate(((acc + halves) >> shifts) + zps, gate_bits)
        i, f, g, o = (
            evaluate_pwl(pre[:, k], tables[k], table_shift[k], gate_bits).long() - act_zp[k] for k in range(4)
        )
        cell = f * (c.long() - cell_zp) * f_mult + i * g * i_mult
        c = saturate(round_shift(cell, cell_shift) + cell_zp, cell_bits)
        tanh_c = evaluate_pwl(c, tables[4], table_shift[4], gate_bits).long() - act_zp[4]
        h = saturate(round_shift(o * tanh_c * h_mult, h_shift) + h_zp, 8)
        out[t] = h
    return out, h.clone(), c.clone()


@lstm.register_fake
def _(  # type: ignore[no-untyped-def]
    x, h0, c0, w_ih, w_hh, bias, mult_ih, mult_hh, gate_shift, gate_zp, gate_bits, tables, table_shift, act_zp,
    f_mult, i_mult, cell_shift, cell_zp, cell_bits, h_mult, h_shift, h_zp, reverse,
):  # fmt: skip
    torch._check(h0.shape[0] == x.shape[1], lambda: "the state's batch differs from the input's")
    torch._check(c0.shape[0] == x.shape[1], lambda: "the cell's batch differs from the input's")
    return (
        x.new_empty((x.shape[0], x.shape[1], h0.shape[1]), dtype=torch.int8),
        x.new_empty((x.shape[1], h0.shape[1]), dtype=torch.int8),
        x.new_empty((x.shape[1], h0.shape[1]), dtype=DTYPES[cell_bits]),
    )
