"""Rounding with a straight-through gradient: what the integers do, as autograd functions on real values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from irnn_tvm.ops.qparams import QParams


def round_to_grid(x: Tensor, q: QParams, gain: Tensor | None = None) -> Tensor:
    """scale * (sat(floor(x / scale + 0.5) + zero_point) - zero_point), of any shape.

    Gradient: 1 where x is inside the grid, 0 where it is clipped. gain: scalar tensor theta of a learned range
    scale = scale0 * exp(theta); its gradient is that of LSQ (Esser et al. 2020), in the logarithm of the scale.
    """
    result: Tensor = _RoundToGrid.apply(x, q, gain)
    return result


class _RoundToGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, q: QParams, gain: Tensor | None) -> Tensor:
        # In reals: levels from (qmin - zp) to (qmax - zp), so that the zero point is exact whatever its size.
        level = x.mul(1.0 / q.scale).add_(0.5).floor_()
        low, high = q.qmin - q.zero_point, q.qmax - q.zero_point
        inside = (level >= low) & (level <= high)
        rounded = level.clamp_(low, high).mul_(q.scale)
        if gain is None:
            ctx.save_for_backward(inside)
        else:
            ctx.save_for_backward(inside, rounded - x * inside)
            ctx.weight = (x.numel() * q.qmax) ** -0.5
        return rounded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        inside, *error = ctx.saved_tensors
        towards_gain = (grads[0] * error[0]).sum() * ctx.weight if error else None
        return grads[0] * inside, None, towards_gain


def round_rows(weight: Tensor) -> Tensor:
    """Weights [N, ...] on the int8 grid of their row: a scale per row that makes its largest magnitude 127.

    Gradient: straight through (no weight is ever clipped).
    """
    flat = weight.detach().reshape(weight.shape[0], -1)
    scale = (flat.abs().amax(dim=1) / 127.0).clamp_min(torch.finfo(weight.dtype).tiny)
    scale = scale.reshape(-1, *[1] * (weight.dim() - 1))
    rounded = torch.floor(weight.detach() / scale + 0.5).clamp_(-127, 127) * scale
    return weight + (rounded - weight.detach())


def look_up(x: Tensor, q: QParams, table: Tensor, slopes: Tensor) -> Tensor:
    """table[i] where i is the place of x on the grid q; both float [2**bits], from qmin up. Gradient: slopes[i]."""
    result: Tensor = _LookUp.apply(x, q, table, slopes)
    return result


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, q: QParams, table: Tensor, slopes: Tensor) -> Tensor:
        place = grid_index(torch.nan_to_num(x), q)
        ctx.save_for_backward(slopes[place])
        return table[place] + x * 0.0  # what is not finite stays so

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None, None, None


def grid_index(x: Tensor, q: QParams) -> Tensor:
    """Place of x on its grid, int64 in [0, 2**bits)."""
    return x.mul(1.0 / q.scale).add_(q.zero_point - q.qmin + 0.5).floor_().clamp_(0, q.qmax - q.qmin).long()
