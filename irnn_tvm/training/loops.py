"""The time loops of training, in the part of Python that TorchScript compiles: a small layer is bound by calls.

The interpreter of TorchScript makes a step of a layer with 64 units about three times as fast as Python does; where it
is missing (a Python that it does not support) the same functions run as they stand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """One of the loops below, by TorchScript when it can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript announces its end with every use
        try:
            script: Callable[..., Any] = torch.jit.script(loop)
        except (RuntimeError, NotImplementedError, OSError):  # not for this Python, or no source at hand
            return loop
    return script


def on_grid(x: Tensor, grid: list[float]) -> Tensor:
    """x rounded. grid: 1 / scale, scale, lowest and highest level."""
    return x.mul(grid[0]).add_(0.5).floor_().clamp_(grid[2], grid[3]).mul_(grid[1])


def lstm_forward(
    steps: list[int],
    from_x: Tensor,
    h: Tensor,
    c: Tensor,
    w: Tensor,
    inverse: Tensor,
    offset: Tensor,
    base: Tensor,
    last: float,
    values: Tensor,
    cell_inputs: Tensor,
    cell_tanh: Tensor,
    cell_grid: list[float],
    hidden_grid: list[float],
    places: Tensor,
    acts: Tensor,
    cells: Tensor,
    cell_places: Tensor,
    squashed: Tensor,
    y: Tensor,
    project: Tensor | None,
    middle_grid: list[float],
    middle: Tensor,
    raw: Tensor,
) -> Tensor:
    """Fills places ... y, each [T, ...]; returns the last cell. steps: the order of time. w: w_hh transposed.

    cell_grid: 1 / scale, offset of its places, last place; hidden_grid: 1 / scale, scale, lowest and highest level.
    project: w_hr transposed; then middle [T, B, H] and raw [T, B, P] are filled too: the projection's operand, on
    middle_grid, and its result.
    """
    for t in steps:
        pre = torch.addmm(from_x[t], h, w)
        place = torch.addcmul(offset, pre, inverse).clamp_(0.0, last).to(torch.int32).add_(base)
        places[t].copy_(place)
        act = torch.index_select(values, 0, place.view(-1)).view(place.shape)
        acts[t].copy_(act)
        i, f, g, o = act.chunk(4, 1)
        at = torch.addcmul(i * g, f, c).mul_(cell_grid[0]).add_(cell_grid[1])
        at = at.clamp_(0.0, cell_grid[2]).to(torch.int32)
        cell_places[t].copy_(at)
        c = torch.index_select(cell_inputs, 0, at.view(-1)).view(at.shape)
        cells[t].copy_(c)
        tanh = torch.index_select(cell_tanh, 0, at.view(-1)).view(at.shape)
        squashed[t].copy_(tanh)
        raw_h = o * tanh
        if project is not None:
            operand = on_grid(raw_h, middle_grid)
            middle[t].copy_(operand)
            raw_h = torch.mm(operand, project)
            raw[t].copy_(raw_h)
        h = on_grid(raw_h, hidden_grid)
        y[t].copy_(h)
    return c


def lstm_backward(
    steps: list[int],
    from_y: Tensor,
    d_h: Tensor,
    d_c: Tensor,
    w: Tensor,
    to_cell: Tensor,
    to_ifg: Tensor,
    to_o: Tensor,
    keep: Tensor,
    d_hidden: Tensor,
    d_cell: Tensor,
    d_pre: Tensor,
    project: Tensor | None,
    keep_projected: Tensor,
    d_middle: Tensor,
) -> tuple[Tensor, Tensor]:
    """Fills d_hidden, d_cell [T, B, H] and d_pre [T, B, 4, H]; returns the gradients of the first h and c.

    steps: from the last to the first; the factors [T, ...] hold everything that does not depend on the recurrence.
    project: w_hr [P, H]; then d_middle [T, B, H] is filled too.
    """
    for t in steps:
        d_h = from_y[t] + d_h
        d_hidden[t].copy_(d_h)
        if project is not None:
            d_h = torch.mm(d_h * keep_projected[t], project)
            d_middle[t].copy_(d_h)
        d_c = torch.addcmul(d_c, d_h, to_cell[t])
        d_cell[t].copy_(d_c)
        d = d_pre[t]
        d[:, :3].copy_(d_c.unsqueeze(1) * to_ifg[t])
        d[:, 3].copy_(d_h * to_o[t])
        d_c = d_c * keep[t]
        d_h = torch.mm(d.view(d.shape[0], -1), w)
    return d_h, d_c


def lstm_trace(
    steps: list[int],
    from_x: Tensor,
    h: Tensor,
    c: Tensor,
    w: Tensor,
    bias: Tensor,
    project: Tensor | None,
    gates: Tensor,
    cells: Tensor,
    middle: Tensor,
    y: Tensor,
) -> tuple[Tensor, Tensor]:
    """An LSTM in float: fills gates (pre-activations) ... y, each [T, ...]; returns the last h and c.

    w: w_hh transposed; bias: b_hh; project: w_hr transposed, without which y is `middle`.
    """
    for t in steps:
        pre = from_x[t] + torch.addmm(bias, h, w)
        gates[t].copy_(pre)
        i, f, g, o = pre.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        cells[t].copy_(c)
        h = torch.sigmoid(o) * torch.tanh(c)
        middle[t].copy_(h)
        if project is not None:
            h = torch.mm(h, project)
            y[t].copy_(h)
    return h, c


def gru_forward(
    steps: list[int],
    from_x: Tensor,
    h: Tensor,
    copy: Tensor,
    w: Tensor,
    bias: Tensor,
    rz: list[Tensor],
    n: list[Tensor],
    last: float,
    inner_grid: list[float],
    state_grid: list[float],
    copy_grid: list[float],
    rz_places: Tensor,
    n_places: Tensor,
    rz_acts: Tensor,
    inner_raw: Tensor,
    inner: Tensor,
    n_acts: Tensor,
    states: Tensor,
    y: Tensor,
) -> Tensor:
    """Fills rz_places ... y; returns the last state. rz, n: values, 1 / scale, offset and base of the gates' tables."""
    size = h.shape[1]
    for t in steps:
        x = from_x[t]
        from_h = torch.addmm(bias, copy, w)
        pre = x[:, : 2 * size] + from_h[:, : 2 * size]
        place = torch.addcmul(rz[2], pre, rz[1]).clamp_(0.0, last).to(torch.int32).add_(rz[3])
        rz_places[t].copy_(place)
        act = torch.index_select(rz[0], 0, place.view(-1)).view(place.shape)
        rz_acts[t].copy_(act)
        r, z = act.chunk(2, 1)
        raw = from_h[:, 2 * size :]
        inner_raw[t].copy_(raw)
        hn = on_grid(raw, inner_grid)
        inner[t].copy_(hn)
        pre = torch.addcmul(x[:, 2 * size :], r, hn)
        place = torch.addcmul(n[2], pre, n[1]).clamp_(0.0, last).to(torch.int32).add_(n[3])
        n_places[t].copy_(place)
        candidate = torch.index_select(n[0], 0, place.view(-1)).view(place.shape)
        n_acts[t].copy_(candidate)
        h = on_grid(torch.lerp(candidate, h, z), state_grid)
        states[t].copy_(h)
        copy = on_grid(h, copy_grid)
        y[t].copy_(copy)
    return h


def gru_backward(
    steps: list[int],
    from_y: Tensor,
    d_h: Tensor,
    d_copy: Tensor,
    w: Tensor,
    mask_copy: Tensor,
    to_n: Tensor,
    to_z: Tensor,
    to_r: Tensor,
    to_inner: Tensor,
    keep: Tensor,
    d_states: Tensor,
    d_copies: Tensor,
    d_x: Tensor,
    d_from_h: Tensor,
) -> tuple[Tensor, Tensor]:
    """Fills d_states ... d_from_h; returns the gradients of the first state and of its copy."""
    for t in steps:
        d_copy = from_y[t] + d_copy
        d_copies[t].copy_(d_copy)
        d_h = torch.addcmul(d_h, d_copy, mask_copy[t])
        d_states[t].copy_(d_h)
        d_n = d_h * to_n[t]
        x, from_h = d_x[t], d_from_h[t]
        x[:, 2].copy_(d_n)
        x[:, 1].copy_(d_h * to_z[t])
        x[:, 0].copy_(d_n * to_r[t])
        from_h[:, :2].copy_(x[:, :2])
        from_h[:, 2].copy_(d_n * to_inner[t])
        d_copy = torch.mm(from_h.view(from_h.shape[0], -1), w)
        d_h = d_h * keep[t]
    return d_h, d_copy
