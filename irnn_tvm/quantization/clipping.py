"""How often the integer operators clip: the recurrences and rescales once more, this time counting.

Every function follows the operator of the same name in irnn_tvm/ops step by step and returns, besides the
operator's own results, the number of clipped values per internal tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irnn_tvm.ops.arithmetic import limits, matmul_int8, round_shift, saturate
from irnn_tvm.ops.pwl import evaluate_pwl
from irnn_tvm.quantization.modules.integer_gru import IntegerGRULayer
from irnn_tvm.quantization.modules.integer_lstm import IntegerLSTMLayer


class Counter:
    """clipped and seen values per tensor name."""

    def __init__(self) -> None:
        self.clipped: dict[str, int] = {}
        self.seen: dict[str, int] = {}

    def narrow(self, value: Tensor, bits: int, name: str) -> Tensor:
        """`saturate`, counting. Returns int64."""
        low, high = limits(bits)
        self.add(name, int(((value < low) | (value > high)).sum()), value.numel())
        return saturate(value, bits).long()

    def add(self, name: str, clipped: int, seen: int) -> None:
        self.clipped[name] = self.clipped.get(name, 0) + clipped
        self.seen[name] = self.seen.get(name, 0) + seen

    def share(self, name: str) -> float:
        seen = self.seen.get(name, 0)
        return self.clipped.get(name, 0) / seen if seen else 0.0


def count_lstm(
    layer: IntegerLSTMLayer, x: Tensor, h0: Tensor | None, c0: Tensor | None, counter: Counter
) -> Tensor:
    """Returns y as irnn::lstm does."""
    s = layer.scalars
    batch, hidden = x.shape[1], layer.w_hh.shape[1]
    h = (h0 if h0 is not None else x.new_full((batch, hidden), s.h_zp)).long()
    c = c0.long() if c0 is not None else torch.full_like(h, s.cell_zp)
    acc_x = (matmul_int8(x, layer.w_ih) + layer.bias.long()) * layer.mult_ih.long()
    out = torch.empty((x.shape[0], batch, hidden), dtype=torch.int8, device=x.device)
    for t in _order(x.shape[0], layer.reverse):
        acc = (acc_x[t] + matmul_int8(h, layer.w_hh) * layer.mult_hh.long()).reshape(batch, 4, hidden)
        values = []
        for k, name in enumerate(("gate i", "gate f", "gate g", "gate o")):
            pre = counter.narrow(round_shift(acc[:, k], s.gate_shift[k]) + s.gate_zp[k], s.gate_bits, name)
            values.append(_table(pre, layer, k, s))
        i, f, g, o = values
        cell = round_shift(f * (c - s.cell_zp) * s.f_mult + i * g * s.i_mult, s.cell_shift) + s.cell_zp
        c = counter.narrow(cell, s.cell_bits, "cell state")
        squashed = _table(c, layer, 4, s)
        h = counter.narrow(round_shift(o * squashed * s.h_mult, s.h_shift) + s.h_zp, 8, "hidden state")
        out[t] = h.to(torch.int8)
    return out


def count_gru(layer: IntegerGRULayer, x: Tensor, h0: Tensor | None, counter: Counter) -> Tensor:
    """Returns y as irnn::gru does."""
    s = layer.scalars
    batch, hidden = x.shape[1], layer.w_hh.shape[1]
    state = h0.long() if h0 is not None else torch.full((batch, hidden), s.state_zp, device=x.device)
    m_hh = layer.mult_hh.long()
    acc_x = ((matmul_int8(x, layer.w_ih) + layer.bias.long()) * layer.mult_ih.long()).reshape(
        -1, batch, 3, hidden
    )
    out = torch.empty((x.shape[0], batch, hidden), dtype=torch.int8, device=x.device)

    def output(value: Tensor, count: bool) -> Tensor:
        wide = round_shift((value - s.state_zp) * s.out_mult, s.out_shift) + s.out_zp
        return counter.narrow(wide, 8, "hidden state") if count else saturate(wide, 8).long()

    def gate(acc: Tensor, k: int, name: str) -> Tensor:
        pre = counter.narrow(round_shift(acc, s.gate_shift[k]) + s.gate_zp[k], s.gate_bits, name)
        return _table(pre, layer, k, s)

    h8 = output(state, False)
    rows = 3 * hidden if s.reset_after else 2 * hidden
    for t in _order(x.shape[0], layer.reverse):
        acc_h = matmul_int8(h8, layer.w_hh[:rows]).reshape(batch, -1, hidden)
        r = gate(acc_x[t, :, 0] + acc_h[:, 0] * m_hh[:hidden], 0, "gate r")
        z = gate(acc_x[t, :, 1] + acc_h[:, 1] * m_hh[hidden : 2 * hidden], 1, "gate z")
        real = state - s.state_zp
        if s.reset_after:
            wide = round_shift((acc_h[:, 2] + layer.bias_hn.long()) * m_hh[2 * hidden :], s.hn_shift)
            hn = counter.narrow(wide, s.gate_bits, "W_hn h + b_hn")
            n = gate(acc_x[t, :, 2] + r * hn * s.rn_mult, 2, "gate n")
        else:
            rh = counter.narrow(round_shift(r * real * s.rh_mult, s.rh_shift) + s.rh_zp, 8, "r * h")
            n = gate(
                acc_x[t, :, 2] + matmul_int8(rh, layer.w_hh[2 * hidden :]) * m_hh[2 * hidden :], 2, "gate n"
            )
        mix = round_shift((s.z_one - z) * n * s.n_mult + z * real * s.h_mult, s.state_shift) + s.state_zp
        state = counter.narrow(mix, s.state_bits, "state")
        h8 = output(state, True)
        out[t] = h8.to(torch.int8)
    return out


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _table(q: Tensor, layer: Any, k: int, s: Any) -> Tensor:
    value = evaluate_pwl(q, layer.tables[k], s.table_shift[k], s.gate_bits)
    return value.long() - int(s.act_zp[k])
