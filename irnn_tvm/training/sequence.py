"""What the recurrences share: masks of what is clipped, states moved by a step."""

from __future__ import annotations

import torch
from torch import Tensor

from irnn_tvm.ops.qparams import QParams


def sane(*tensors: Tensor) -> tuple[list[Tensor], Tensor]:
    """Finite copies of tensors, and a scalar that is 0, or NaN when one of them was not finite.

    What is looked up in a table must have a place there; the scalar, added to the result, keeps the NaN in the loss.
    """
    poison = sum((t.sum() * 0.0 for t in tensors), tensors[0].new_zeros(()))
    return [torch.nan_to_num(t) for t in tensors], poison


def inside(raw: Tensor, q: QParams) -> Tensor:
    """1 where a real value rounds to an integer of the grid, 0 where it is clipped."""
    low = (q.qmin - q.zero_point - 0.5) * q.scale
    high = (q.qmax - q.zero_point + 0.5) * q.scale
    return ((raw >= low) & (raw < high)).to(raw.dtype)


def states_before(states: Tensor, first: Tensor, reverse: bool) -> Tensor:
    """What each step reads: states [T, B, H], in input order, moved by one step."""
    if reverse:
        return torch.cat((states[1:], first.unsqueeze(0)))
    return torch.cat((first.unsqueeze(0), states[:-1]))


def order(steps: int, reverse: bool) -> list[int]:
    """The steps in the order in which a direction takes them."""
    return list(range(steps - 1, -1, -1) if reverse else range(steps))


def levels(q: QParams) -> list[float]:
    """A grid as the loops take it: 1 / scale, scale, lowest and highest level around the zero point."""
    return [1.0 / q.scale, q.scale, float(q.qmin - q.zero_point), float(q.qmax - q.zero_point)]


def gain_gradient(grad: Tensor, on_grid: Tensor, raw: Tensor, mask: Tensor, q: QParams) -> Tensor:
    """Gradient of the logarithm of a scale (LSQ), with LSQ's normalisation. mask: `inside` of raw."""
    return (grad * (on_grid - raw * mask)).sum() * (raw.numel() * q.qmax) ** -0.5
