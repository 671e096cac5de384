"""One direction of a float LSTM layer with a projection, so that observers can see every tensor.

Its loop is compiled: training looks at every batch while it observes, and torch's own kernel shows outputs alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from irnn_tvm.nn.lstm_recurrence import LstmWeights
from irnn_tvm.training.loops import compiled, lstm_trace
from irnn_tvm.training.sequence import order


@dataclass(frozen=True)
class ProjectedLstmTrace:
    """gates [T, B, 4H]: pre-activations i, f, g, o. cell, middle [T, B, H]: the cell state and what is projected.

    hidden [T, B, P]. All in input order, also for the reverse direction; last_hidden [B, P] and last_cell [B, H] are
    the final state.
    """

    gates: Tensor
    cell: Tensor
    middle: Tensor
    hidden: Tensor
    last_hidden: Tensor
    last_cell: Tensor


def trace_projected_lstm(w: LstmWeights, x: Tensor, h: Tensor, c: Tensor) -> ProjectedLstmTrace:
    """x [T, B, X], h [B, P], c [B, H]. Without gradients."""
    assert w.w_hr is not None
    from_x = F.linear(x, w.w_ih, w.bias())
    steps, batch, rows = from_x.shape
    gates = from_x.new_empty(from_x.shape)
    cell, middle = from_x.new_empty((2, steps, batch, rows // 4)).unbind(0)
    hidden = from_x.new_empty((steps, batch, h.shape[1]))
    last = compiled(lstm_trace)(
        order(steps, w.reverse), from_x, h, c, w.w_hh.t(), w.w_hr.t(), gates, cell, middle, hidden
    )
    return ProjectedLstmTrace(gates, cell, middle, hidden, *last)
