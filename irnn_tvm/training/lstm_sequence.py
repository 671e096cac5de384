"""One direction of an LSTM layer on integer grids, forward and backward through time, as one autograd function.

Written out because autograd would keep some twenty small tensors per step; here everything that does not depend on the
recurrence is done for all steps at once, and the loops over time are compiled (irnn_tvm/training/loops.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.training.autocast import without_autocast
from irnn_tvm.training.gate_tables import GateTables, Table
from irnn_tvm.training.loops import compiled, lstm_backward, lstm_forward
from irnn_tvm.training.sequence import gain_gradient, inside, levels, order, sane, states_before


@dataclass(frozen=True)
class LstmGrids:
    """gates: tables of i, f, g, o. tanh: that of the cell state. hidden: grid of the output. middle: grid of a
    projection's operand."""

    gates: GateTables
    tanh: Table
    hidden: QParams
    middle: QParams | None = None

    @property
    def cell(self) -> QParams:
        """Grid of the cell state."""
        return self.tanh.grid


def lstm_sequence(
    from_x: Tensor,
    h0: Tensor,
    c0: Tensor,
    w_hh: Tensor,
    grids: LstmGrids,
    reverse: bool,
    gains: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None),
    w_hr: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """from_x [T, B, 4H]: w_ih x + bias on rounded weights. h0 [B, P], c0 [B, H] on their grids, w_hh [4H, P] rounded.

    w_hr [P, H]: the projection, rounded, whose operand is on grids.middle; None: P is H, and h is not projected.
    gains: learned ranges (irnn_tvm.training.straight_through) of cell, hidden state and the projection's operand.
    Returns y [T, B, P] in input order and the last cell state [B, H]; formulas: docs/numerics.md, lstm and
    lstm_general.
    """
    result: tuple[Tensor, Tensor] = _LstmSequence.apply(from_x, h0, c0, w_hh, w_hr, grids, reverse, *gains)
    return result


class _LstmSequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        from_x: Tensor,
        h0: Tensor,
        c0: Tensor,
        w_hh: Tensor,
        w_hr: Tensor | None,
        grids: LstmGrids,
        reverse: bool,
        *gains: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        (from_x, h0, c0, w_hh), poison = sane(from_x, h0, c0, w_hh)
        if w_hr is not None:
            (w_hr,), more = sane(w_hr)
            poison = poison + more
        steps, batch, rows = from_x.shape
        hidden = rows // 4
        gates, cell, out = grids.gates, grids.cell, grids.hidden
        acts = from_x.new_empty((steps, batch, rows))
        cells, squashed = from_x.new_empty((2, steps, batch, hidden)).unbind(0)
        y = from_x.new_empty((steps, batch, h0.shape[1]))
        middle, raw, middle_grid = from_x.new_empty(0), from_x.new_empty(0), [0.0]
        if w_hr is not None:
            assert grids.middle is not None
            middle, raw, middle_grid = torch.empty_like(cells), torch.empty_like(y), levels(grids.middle)
        places = from_x.new_empty((steps, batch, rows), dtype=torch.int32)
        cell_places = from_x.new_empty((steps, batch, hidden), dtype=torch.int32)
        cell_grid = [1.0 / cell.scale, cell.zero_point - cell.qmin + 0.5, float(cell.qmax - cell.qmin)]
        c = compiled(lstm_forward)(
            order(steps, reverse), from_x, h0, c0, w_hh.t(), gates.inverse, gates.offset, gates.base, float(gates.last),
            gates.values, grids.tanh.inputs, grids.tanh.values, cell_grid, levels(out), places, acts, cells,
            cell_places, squashed, y, w_hr.t() if w_hr is not None else None, middle_grid, middle, raw,
        )  # fmt: skip
        ctx.save_for_backward(h0, c0, w_hh, w_hr, places, acts, cells, cell_places, squashed, y, middle, raw)
        ctx.grids, ctx.reverse = grids, reverse
        ctx.learns = [gain is not None for gain in gains]
        return y.add_(poison), c + poison

    @staticmethod
    @without_autocast()
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from_y, from_c = grads
        h0, c0, w_hh, w_hr, places, acts, cells, cell_places, squashed, y, middle, raw_h = ctx.saved_tensors
        grids, reverse = ctx.grids, ctx.reverse
        cell, out = grids.cell, grids.hidden
        steps, batch, hidden = cells.shape
        shape = (steps, batch, 4, hidden)
        i, f, g, o = acts.view(shape).unbind(2)
        slopes = grids.gates.derivative(places).view(shape)
        before_c, before_h = states_before(cells, c0, reverse), states_before(y, h0, reverse)
        raw_c, raw_m = torch.addcmul(i * g, f, before_c), o * squashed
        # What o * tanh(c) is rounded to: the operand of the projection, or the hidden state itself.
        mask_c, mask_m = inside(raw_c, cell), inside(raw_m, out if w_hr is None else grids.middle)
        mask_h = mask_m if w_hr is None else inside(raw_h, out)
        tanh_slope = grids.tanh.slopes.index_select(0, cell_places.view(-1)).view_as(squashed)
        to_cell = o * tanh_slope * mask_m  # d (o * tanh(c)) / d cell
        to_o = squashed * slopes[:, :, 3] * mask_m  # d (o * tanh(c)) / d pre-activation of o
        to_ifg = torch.stack((g, before_c, i), dim=2).mul_(slopes[:, :, :3])
        d_pre = torch.empty_like(acts).view(shape)
        d_hidden, d_cell, d_middle = torch.empty_like(y), torch.empty_like(cells), torch.empty_like(middle)
        to_ifg.mul_(mask_c.unsqueeze(2))
        d_h, d_c = compiled(lstm_backward)(
            order(steps, not reverse), from_y, torch.zeros_like(h0), from_c, w_hh, to_cell, to_ifg, to_o, mask_c * f,
            d_hidden, d_cell, d_pre, w_hr, mask_h, d_middle,
        )  # fmt: skip
        flat = d_pre.view(steps, batch, 4 * hidden)
        d_w = flat.reshape(-1, 4 * hidden).t() @ before_h.reshape(-1, before_h.shape[2])
        d_project = None
        if w_hr is not None:
            d_project = (d_hidden * mask_h).reshape(-1, y.shape[2]).t() @ middle.reshape(-1, hidden)
        rounded = [
            (d_cell, cells, raw_c, mask_c, cell),
            (d_hidden, y, raw_m if w_hr is None else raw_h, mask_h, out),
            (d_middle, middle, raw_m, mask_m, grids.middle),
        ]
        d_gains = [
            gain_gradient(*tensor) if learns else None
            for learns, tensor in zip(ctx.learns, rounded, strict=True)
        ]
        return flat, d_h, d_c, d_w, d_project, None, None, *d_gains
