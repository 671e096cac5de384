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
from irnn_tvm.training.gate_tables import GateTables, Table
from irnn_tvm.training.loops import compiled, lstm_backward, lstm_forward
from irnn_tvm.training.sequence import gain_gradient, inside, levels, order, sane, states_before


@dataclass(frozen=True)
class LstmGrids:
    """gates: tables of i, f, g, o. tanh: that of the cell state. hidden: grid of the output."""

    gates: GateTables
    tanh: Table
    hidden: QParams

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
    gains: tuple[Tensor | None, Tensor | None] = (None, None),
) -> tuple[Tensor, Tensor]:
    """from_x [T, B, 4H]: w_ih x + bias on rounded weights. h0, c0 [B, H] on their grids, w_hh [4H, H] rounded.

    gains: learned ranges (irnn_tvm.training.straight_through) of cell and hidden state.
    Returns y [T, B, H] in input order and the last cell state [B, H]; formulas: docs/numerics.md, lstm.
    """
    result: tuple[Tensor, Tensor] = _LstmSequence.apply(from_x, h0, c0, w_hh, grids, reverse, *gains)
    return result


class _LstmSequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        from_x: Tensor,
        h0: Tensor,
        c0: Tensor,
        w_hh: Tensor,
        grids: LstmGrids,
        reverse: bool,
        cell_gain: Tensor | None,
        hidden_gain: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        (from_x, h0, c0, w_hh), poison = sane(from_x, h0, c0, w_hh)
        steps, batch, rows = from_x.shape
        hidden = rows // 4
        gates, cell, out = grids.gates, grids.cell, grids.hidden
        acts = from_x.new_empty((steps, batch, rows))
        cells, squashed, y = from_x.new_empty((3, steps, batch, hidden)).unbind(0)
        places = from_x.new_empty((steps, batch, rows), dtype=torch.int32)
        cell_places = from_x.new_empty((steps, batch, hidden), dtype=torch.int32)
        cell_grid = [1.0 / cell.scale, cell.zero_point - cell.qmin + 0.5, float(cell.qmax - cell.qmin)]
        c = compiled(lstm_forward)(
            order(steps, reverse), from_x, h0, c0, w_hh.t(), gates.inverse, gates.offset, gates.base, float(gates.last),
            gates.values, grids.tanh.inputs, grids.tanh.values, cell_grid, levels(out), places, acts, cells,
            cell_places, squashed, y,
        )  # fmt: skip
        ctx.save_for_backward(h0, c0, w_hh, places, acts, cells, cell_places, squashed, y)
        ctx.grids, ctx.reverse = grids, reverse
        ctx.learns = cell_gain is not None, hidden_gain is not None
        return y.add_(poison), c + poison

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from_y, from_c = grads
        h0, c0, w_hh, places, acts, cells, cell_places, squashed, y = ctx.saved_tensors
        grids, reverse = ctx.grids, ctx.reverse
        cell, out = grids.cell, grids.hidden
        steps, batch, hidden = y.shape
        shape = (steps, batch, 4, hidden)
        i, f, g, o = acts.view(shape).unbind(2)
        slopes = grids.gates.derivative(places).view(shape)
        before_c, before_h = states_before(cells, c0, reverse), states_before(y, h0, reverse)
        raw_c, raw_h = torch.addcmul(i * g, f, before_c), o * squashed
        mask_c, mask_h = inside(raw_c, cell), inside(raw_h, out)
        tanh_slope = grids.tanh.slopes.index_select(0, cell_places.view(-1)).view_as(squashed)
        to_cell = o * tanh_slope * mask_h  # d cell / d hidden
        to_o = squashed * slopes[:, :, 3] * mask_h  # d pre-activation of o / d hidden
        to_ifg = torch.stack((g, before_c, i), dim=2).mul_(slopes[:, :, :3])
        d_pre = torch.empty_like(acts).view(shape)
        d_hidden, d_cell = torch.empty_like(y), torch.empty_like(y)
        to_ifg.mul_(mask_c.unsqueeze(2))
        d_h, d_c = compiled(lstm_backward)(
            order(steps, not reverse), from_y, torch.zeros_like(h0), from_c, w_hh, to_cell, to_ifg, to_o, mask_c * f,
            d_hidden, d_cell, d_pre,
        )  # fmt: skip
        flat = d_pre.view(steps, batch, 4 * hidden)
        d_w = flat.reshape(-1, 4 * hidden).t() @ before_h.reshape(-1, hidden)
        d_gains = [
            gain_gradient(grad, on_grid, raw, mask, q) if learns else None
            for learns, grad, on_grid, raw, mask, q in (
                (ctx.learns[0], d_cell, cells, raw_c, mask_c, cell),
                (ctx.learns[1], d_hidden, y, raw_h, mask_h, out),
            )
        ]
        return flat, d_h, d_c, d_w, None, None, *d_gains
