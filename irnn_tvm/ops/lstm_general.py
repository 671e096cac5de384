"""lstm_general: an integer LSTM layer with projection, peepholes, coupled gates, cell limits, norms and Mogrifier.

Every part is optional and independent of the others; a plain LSTM is `irnn::lstm`. Formulas: docs/numerics.md.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import limits, matmul_int8, narrow_plain, round_shift
from irnn_tvm.ops.library import observable_op
from irnn_tvm.ops.norm_bounds import norm_units
from irnn_tvm.ops.normalize import affine_units
from irnn_tvm.ops.pwl import evaluate_pwl

Narrow = Callable[[Tensor, int, str], Tensor]


def mogrifier_round(
    factor_source: Tensor,
    value: Tensor,
    value_zp: int,
    weight: tuple[Tensor, Tensor, Tensor],
    pre: tuple[int, int],
    table: tuple[Tensor, int, int],
    out: tuple[int, int, int],
    gate_bits: int,
    number: int,
    narrow: Narrow,
) -> Tensor:
    """2 sigmoid(W factor_source) * value in integers: int8 [B, N].

    weight: w int8 [N, K], bias and mult int32 [N]. pre: shift and zero point of the pre-activation. table: sigmoid's
    table, shift and output zero point. out: multiplier (which holds the factor 2), shift and zero point. number: of
    the round, from 1.
    """
    w, bias, mult = weight
    acc = (matmul_int8(factor_source, w) + bias.long()) * mult.long()
    q = narrow(round_shift(acc, pre[0]) + pre[1], gate_bits, f"mogrifier gate {number}")
    gate = evaluate_pwl(q, table[0], table[1], gate_bits)
    product = (gate.long() - table[2]) * (value.long() - value_zp) * out[0]
    return narrow(round_shift(product, out[1]) + out[2], 8, f"mogrified {number}")


def lstm_general_steps(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    mult_ih: Tensor,
    mult_hh: Tensor,
    tables: Tensor,
    bias_hh: Tensor | None,
    gain_ih: Tensor | None,
    gain_hh: Tensor | None,
    gate_bias: Tensor | None,
    mult_peephole: Tensor | None,
    cell_gain: Tensor | None,
    cell_bias: Tensor | None,
    w_hr: Tensor | None,
    bias_hr: Tensor | None,
    mult_hr: Tensor | None,
    w_q: Tensor | None,
    bias_q: Tensor | None,
    mult_q: Tensor | None,
    w_r: Tensor | None,
    bias_r: Tensor | None,
    mult_r: Tensor | None,
    gate_shift: Sequence[int],
    gate_zp: Sequence[int],
    gate_bits: int,
    table_shift: Sequence[int],
    act_zp: Sequence[int],
    norm: int,
    norm_shift: Sequence[int],
    norm_eps: Sequence[int],
    one: int,
    f_mult: int,
    i_mult: int,
    cell_shift: int,
    cell_zp: int,
    cell_bits: int,
    cell_low: int,
    cell_high: int,
    cell_norm: int,
    cell_norm_eps: int,
    cell_norm_shift: int,
    cell_norm_zp: int,
    h_mult: int,
    h_shift: int,
    h_zp: int,
    projection_shift: int,
    projection_zp: int,
    x_zp: int,
    mogrifier_shift: Sequence[int],
    mogrifier_zp: Sequence[int],
    mogrifier_mult: Sequence[int],
    mogrifier_out_shift: Sequence[int],
    mogrifier_out_zp: Sequence[int],
    reverse: bool,
    narrow: Narrow = narrow_plain,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gates in the order i, f, g, o (G = 4), or f, g, o (G = 3) when `one` > 0, which couples i = one - f.

    x int8 [T, B, X], h0 int8 [B, P], c0 int8/int16 [B, H]; w_ih int8 [G H, X], w_hh int8 [G H, P]; bias, mult_ih,
    mult_hh int32 [G H]; tables int16 [G + 1 + rounds, 3, N]: gates, tanh of the cell, the Mogrifier's sigmoids.
    Optional tensors (None: the part is off), int32 unless said otherwise:
    - bias_hh, gain_ih, gain_hh, gate_bias [G H]: the norm `norm` (1 layer, 2 mad) of each product over all G H rows;
    - mult_peephole: [3 H] for i, f, o ([2 H] for f, o when coupled);
    - cell_gain, cell_bias [H]: the norm `cell_norm` of the cell before tanh;
    - w_hr int8 [P, H], bias_hr, mult_hr [P]: projection; without it P = H;
    - w_q int8 [nQ, X, P], bias_q, mult_q [nQ, X], w_r int8 [nR, P, X], bias_r, mult_r [nR, P]: Mogrifier rounds.

    rs(v, s) = (v + 2**(s-1)) >> s. Per step, after the Mogrifier's rounds (see mogrifier_round):
    pre = sat(rs(e, gate_shift) + gate_zp), a = pwl(pre), with
      e = (w_ih x + bias) mult_ih + (w_hh h) mult_hh                          without norm, else
      e = N(sat16(rs((w_ih x + bias) mult_ih, norm_shift[0]))) gain_ih
        + N(sat16(rs((w_hh h + bias_hh) mult_hh, norm_shift[1]))) gain_hh + gate_bias 2**16,
      each + (c - cell_zp) mult_peephole, for o with the new c;
    c' = min(max(sat(rs((f-zf)(c-cell_zp) f_mult + i (g-zg) i_mult, cell_shift) + cell_zp), cell_low), cell_high);
    tc = pwl(c'), or pwl(sat(rs(N(c') cell_gain + cell_bias 2**16, cell_norm_shift) + cell_norm_zp));
    m = sat8(rs((o-zo)(tc-ztc) h_mult, h_shift) + h_zp);
    h' = m, or sat8(rs((w_hr m + bias_hr) mult_hr, projection_shift) + projection_zp).
    Returns y int8 [T, B, P] (in input order, also when reverse), the last h int8 [B, P] and the last c [B, H].
    """
    steps, batch, _ = x.shape
    hidden = c0.shape[1]
    gates = w_ih.shape[0] // hidden
    rounds = len(mogrifier_shift)
    m_ih, m_hh = mult_ih.long(), mult_hh.long()
    g_index, o_index = gates - 2, gates - 1
    names = "ifgo"[4 - gates :]
    peeps = mult_peephole.long().reshape(gates - 1, hidden) if mult_peephole is not None else None

    def activate(e: Tensor, k: int) -> Tensor:
        pre = narrow(round_shift(e, gate_shift[k]) + gate_zp[k], gate_bits, f"gate {names[k]}")
        return evaluate_pwl(pre, tables[k], table_shift[k], gate_bits).long() - act_zp[k]

    def mogrified(xt: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        xz, hz = x_zp, projection_zp if w_hr is not None else h_zp
        for r in range(rounds):
            k = gates + 1 + r
            pre = (mogrifier_shift[r], mogrifier_zp[r])
            table = (tables[k], table_shift[k], act_zp[k])
            out = (mogrifier_mult[r], mogrifier_out_shift[r], mogrifier_out_zp[r])
            if r % 2 == 0:
                assert w_q is not None
                assert bias_q is not None
                assert mult_q is not None
                weight = (w_q[r // 2], bias_q[r // 2], mult_q[r // 2])
                xt, xz = mogrifier_round(h, xt, xz, weight, pre, table, out, gate_bits, r + 1, narrow), out[2]
            else:
                assert w_r is not None
                assert bias_r is not None
                assert mult_r is not None
                weight = (w_r[r // 2], bias_r[r // 2], mult_r[r // 2])
                h, hz = mogrifier_round(xt, h, hz, weight, pre, table, out, gate_bits, r + 1, narrow), out[2]
        return xt, h

    def from_x(v: Tensor) -> Tensor:
        acc = (matmul_int8(v, w_ih) + bias.long()) * m_ih
        if norm == 0:
            return acc
        assert gain_ih is not None
        assert gate_bias is not None
        units = norm_units(narrow(round_shift(acc, norm_shift[0]), 16, "W_ih x"), norm, norm_eps[0])
        return affine_units(units, gain_ih, gate_bias)

    def from_h(v: Tensor) -> Tensor:
        if norm == 0:
            return matmul_int8(v, w_hh) * m_hh
        assert bias_hh is not None
        assert gain_hh is not None
        acc = (matmul_int8(v, w_hh) + bias_hh.long()) * m_hh
        units = norm_units(narrow(round_shift(acc, norm_shift[1]), 16, "W_hh h"), norm, norm_eps[1])
        return units * gain_hh.long()

    def squashed(c: Tensor) -> Tensor:
        q = c
        if cell_norm:
            assert cell_gain is not None
            assert cell_bias is not None
            e = affine_units(norm_units(c, cell_norm, cell_norm_eps), cell_gain, cell_bias)
            q = narrow(round_shift(e, cell_norm_shift) + cell_norm_zp, gate_bits, "normalised cell")
        return evaluate_pwl(q, tables[gates], table_shift[gates], gate_bits).long() - act_zp[gates]

    # What the model clips itself does not count as saturation; its limits are symmetric, so the lower one tells.
    clipped = cell_low > limits(cell_bits)[0]
    inner = "hidden state" if w_hr is None else "before projection"
    acc_x = from_x(x) if rounds == 0 else None
    h, c = h0, c0
    out = x.new_empty((steps, batch, h0.shape[1]), dtype=torch.int8)
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        xt, h = mogrified(x[t], h)
        e = ((acc_x[t] if acc_x is not None else from_x(xt)) + from_h(h)).reshape(batch, gates, hidden)
        cell = c.long() - cell_zp
        f = activate(e[:, g_index - 1] + (cell * peeps[-2] if peeps is not None else 0), g_index - 1)
        g = activate(e[:, g_index], g_index)
        if one > 0:
            i = one - f
        else:
            i = activate(e[:, 0] + (cell * peeps[0] if peeps is not None else 0), 0)
        mixed = round_shift(f * cell * f_mult + i * g * i_mult, cell_shift) + cell_zp
        if clipped:
            mixed = mixed.clamp(cell_low, cell_high)
        c = narrow(mixed, cell_bits, "cell state").clamp(cell_low, cell_high)
        new = c.long() - cell_zp
        o = activate(e[:, o_index] + (new * peeps[-1] if peeps is not None else 0), o_index)
        h = narrow(round_shift(o * squashed(c) * h_mult, h_shift) + h_zp, 8, inner)
        if w_hr is not None:
            assert bias_hr is not None
            assert mult_hr is not None
            acc = (matmul_int8(h, w_hr) + bias_hr.long()) * mult_hr.long()
            h = narrow(round_shift(acc, projection_shift) + projection_zp, 8, "hidden state")
        out[t] = h
    return out, h.clone(), c.clone()


lstm_general = observable_op(lstm_general_steps)


@lstm_general.register_fake
def _(x, h0, c0, *args, **kwargs):  # type: ignore[no-untyped-def]
    torch._check(h0.shape[0] == x.shape[1], lambda: "the state's batch differs from the input's")
    torch._check(c0.shape[0] == x.shape[1], lambda: "the cell's batch differs from the input's")
    return (
        x.new_empty((x.shape[0], x.shape[1], h0.shape[1]), dtype=torch.int8),
        x.new_empty((x.shape[1], h0.shape[1]), dtype=torch.int8),
        x.new_empty((x.shape[1], c0.shape[1]), dtype=c0.dtype),
    )
