"""One direction of a GRU layer on integer grids, forward and backward through time (reset gate after the product)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from irnn_tvm.ops.qparams import QParams
from irnn_tvm.training.autocast import without_autocast
from irnn_tvm.training.gate_tables import GateTables
from irnn_tvm.training.loops import compiled, gru_backward, gru_forward, on_grid
from irnn_tvm.training.sequence import gain_gradient, inside, levels, order, sane, states_before
from irnn_tvm.training.straight_through import round_to_grid


@dataclass(frozen=True)
class GruGrids:
    """rz: tables of the gates r and z; n: that of the candidate. inner: grid of W_hn h + b_hn (reset after) or of r * h
    (before). state: grid of h; copy: grid of its int8 copy, which the products and the output read."""

    rz: GateTables
    n: GateTables
    inner: QParams
    state: QParams
    copy: QParams


def gru_sequence(
    from_x: Tensor,
    h0: Tensor,
    w_hh: Tensor,
    bias_hn: Tensor,
    grids: GruGrids,
    reverse: bool,
    gains: tuple[Tensor | None, Tensor | None] = (None, None),
) -> tuple[Tensor, Tensor]:
    """from_x [T, B, 3H]: w_ih x and biases but b_hn, on rounded weights. h0 [B, H] on the state's grid, w_hh [3H, H]
    rounded. gains: learned ranges of the state and of its int8 copy.

    Returns y [T, B, H] (the int8 copies) in input order and the last state [B, H]; formulas: docs/numerics.md, gru.
    """
    result: tuple[Tensor, Tensor] = _GruSequence.apply(from_x, h0, w_hh, bias_hn, grids, reverse, *gains)
    return result


def gru_sequence_reset_before(
    from_x: Tensor, h0: Tensor, w_hh: Tensor, grids: GruGrids, reverse: bool
) -> tuple[Tensor, Tensor]:
    """The same with the reset gate before the product; all biases are in from_x. Plain autograd."""
    steps = from_x.shape[0]
    hidden = h0.shape[1]
    w_rz, w_n = w_hh[: 2 * hidden].t(), w_hh[2 * hidden :].t()
    h, copy = h0, round_to_grid(h0, grids.copy)
    outputs: list[Tensor] = []
    for t in order(steps, reverse):
        gates = _Activate.apply(torch.addmm(from_x[t, :, : 2 * hidden], copy, w_rz), grids.rz)
        r, z = gates.chunk(2, dim=1)
        inner = round_to_grid(r * h, grids.inner)
        n = _Activate.apply(torch.addmm(from_x[t, :, 2 * hidden :], inner, w_n), grids.n)
        h = round_to_grid((1.0 - z) * n + z * h, grids.state)
        copy = round_to_grid(h, grids.copy)
        outputs.append(copy)
    return torch.stack(outputs[::-1] if reverse else outputs), h


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, tables: GateTables) -> Tensor:
        place = tables.index(torch.nan_to_num(pre))
        ctx.save_for_backward(place)
        ctx.tables = tables
        return tables.look_up(place) + pre * 0.0

    @staticmethod
    @without_autocast()
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (place,) = ctx.saved_tensors
        return grads[0] * ctx.tables.derivative(place), None


class _GruSequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        from_x: Tensor,
        h0: Tensor,
        w_hh: Tensor,
        bias_hn: Tensor,
        grids: GruGrids,
        reverse: bool,
        state_gain: Tensor | None,
        copy_gain: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        (from_x, h0, w_hh, bias_hn), poison = sane(from_x, h0, w_hh, bias_hn)
        steps, batch, rows = from_x.shape
        hidden = rows // 3
        rz_places = from_x.new_empty((steps, batch, 2 * hidden), dtype=torch.int32)
        n_places = from_x.new_empty((steps, batch, hidden), dtype=torch.int32)
        rz = from_x.new_empty((steps, batch, 2 * hidden))
        inner_raw, inner, n, states, y = from_x.new_empty((5, steps, batch, hidden)).unbind(0)
        bias = torch.cat((torch.zeros_like(bias_hn), torch.zeros_like(bias_hn), bias_hn))
        ctx.copy0 = copy = on_grid(h0, levels(grids.copy))
        tables = [[g.values, g.inverse, g.offset, g.base] for g in (grids.rz, grids.n)]
        h = compiled(gru_forward)(
            order(steps, reverse), from_x, h0, copy, w_hh.t(), bias, *tables, float(grids.n.last), levels(grids.inner),
            levels(grids.state), levels(grids.copy), rz_places, n_places, rz, inner_raw, inner, n, states, y,
        )  # fmt: skip
        ctx.save_for_backward(h0, w_hh, rz_places, n_places, rz, inner_raw, inner, n, states, y)
        ctx.grids, ctx.reverse = grids, reverse
        ctx.learns = state_gain is not None, copy_gain is not None
        return y.add_(poison), h + poison

    @staticmethod
    @without_autocast()
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from_y, from_state = grads
        h0, w_hh, rz_places, n_places, rz, inner_raw, inner, n, states, y = ctx.saved_tensors
        grids, reverse = ctx.grids, ctx.reverse
        steps, batch, hidden = y.shape
        r, z = rz.view(steps, batch, 2, hidden).unbind(2)
        before, before_copy = states_before(states, h0, reverse), states_before(y, ctx.copy0, reverse)
        slope_r, slope_z = grids.rz.derivative(rz_places).view(steps, batch, 2, hidden).unbind(2)
        slope_n = grids.n.derivative(n_places)
        raw_state = torch.lerp(n, before, z)
        mask_state, mask_copy = inside(raw_state, grids.state), inside(states, grids.copy)
        to_n = (1.0 - z) * slope_n * mask_state
        to_z = (before - n) * slope_z * mask_state
        to_r = inner * slope_r
        to_inner = r * inside(inner_raw, grids.inner)
        d_x = from_y.new_empty((steps, batch, 3, hidden))
        d_from_h = from_y.new_empty((steps, batch, 3, hidden))
        d_states, d_copies = torch.empty_like(y), torch.empty_like(y)
        d_h, d_copy = compiled(gru_backward)(
            order(steps, not reverse), from_y, from_state, torch.zeros_like(h0), w_hh, mask_copy, to_n, to_z, to_r,
            to_inner, z * mask_state, d_states, d_copies, d_x, d_from_h,
        )  # fmt: skip
        d_h = torch.addcmul(d_h, d_copy, inside(h0, grids.copy))
        flat = d_from_h.view(-1, 3 * hidden)
        d_w = flat.t() @ before_copy.reshape(-1, hidden)
        d_gains = [
            gain_gradient(grad, on_grid, raw, mask, q) if learns else None
            for learns, grad, on_grid, raw, mask, q in (
                (ctx.learns[0], d_states, states, raw_state, mask_state, grids.state),
                (ctx.learns[1], d_copies, y, states, mask_copy, grids.copy),
            )
        ]
        d_bias = flat[:, 2 * hidden :].sum(0)
        return d_x.view(steps, batch, 3 * hidden), d_h, d_w, d_bias, None, None, *d_gains
