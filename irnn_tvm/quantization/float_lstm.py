"""One direction of a float LSTM layer, written out so that calibration can see every gate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class LstmTrace:
    """gates [T, B, 4H]: pre-activations in torch's order i, f, g, o. cell, hidden [T, B, H]: after each step.

    All in input order, also for the reverse direction; last_hidden and last_cell [B, H] are the final state.
    """

    gates: Tensor
    cell: Tensor
    hidden: Tensor
    last_hidden: Tensor
    last_cell: Tensor


def trace_lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    reverse: bool,
) -> LstmTrace:
    """x [T, B, X], h and c [B, H], w_ih [4H, X], w_hh [4H, H], biases [4H]."""
    from_x = F.linear(x, w_ih, b_ih)
    steps = x.shape[0]
    gates, cells, hiddens = [], [], []
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        pre = from_x[t] + F.linear(h, w_hh, b_hh)
        i, f, g, o = pre.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        gates.append(pre)
        cells.append(c)
        hiddens.append(h)
    order = -1 if reverse else 1
    return LstmTrace(
        torch.stack(gates[::order]), torch.stack(cells[::order]), torch.stack(hiddens[::order]), h, c
    )
