"""One direction of a float LSTM layer, so that observers can see every gate.

The loop is compiled: training looks at every batch while it observes, and torch's own kernels show outputs alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from irnn_tvm.training.loops import compiled, lstm_trace
from irnn_tvm.training.sequence import order


@dataclass(frozen=True)
class LstmTrace:
    """gates [T, B, 4H]: pre-activations in torch's order i, f, g, o. cell [T, B, H], hidden [T, B, P]: after each step.

    middle [T, B, H]: what is projected; hidden itself without a projection. All in input order, also for the reverse
    direction; last_hidden [B, P] and last_cell [B, H] are the final state.
    """

    gates: Tensor
    cell: Tensor
    middle: Tensor
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
    w_hr: Tensor | None = None,
) -> LstmTrace:
    """x [T, B, X], h [B, P], c [B, H], w_ih [4H, X], w_hh [4H, P], biases [4H]; w_hr [P, H], or P is H."""
    from_x = F.linear(x, w_ih, b_ih)
    steps, batch, rows = from_x.shape
    gates = torch.empty_like(from_x)
    cell, middle = from_x.new_empty((2, steps, batch, rows // 4)).unbind(0)
    hidden = middle if w_hr is None else from_x.new_empty((steps, batch, w_hr.shape[0]))
    bias = from_x.new_zeros(rows) if b_hh is None else b_hh
    project = None if w_hr is None else w_hr.t()
    last = compiled(lstm_trace)(
        order(steps, reverse), from_x, h, c, w_hh.t(), bias, project, gates, cell, middle, hidden
    )
    return LstmTrace(gates, cell, middle, hidden, *last)
