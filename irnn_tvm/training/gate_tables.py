"""Activation tables of training: one function between two grids, and all gates of a recurrent layer side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from irnn_tvm.ops.qparams import QParams


@dataclass(frozen=True)
class Table:
    """A function between two grids. inputs, values, slopes: float [2**bits], in real units, at every integer."""

    grid: QParams
    out: QParams
    fitted: bool
    inputs: Tensor
    values: Tensor
    slopes: Tensor


@dataclass(frozen=True)
class GateTables:
    """parts: a table per gate. values, slopes: float [gates * 2**bits].

    inverse, offset (float) and base (int32), [gates * H]: the place of a pre-activation in them is
    base + trunc(clamp(pre * inverse + offset, 0, last)).
    """

    parts: tuple[Table, ...]
    values: Tensor
    slopes: Tensor
    inverse: Tensor
    offset: Tensor
    base: Tensor
    last: int

    def index(self, pre: Tensor) -> Tensor:
        """int32 places of pre-activations [..., gates * H]."""
        place = torch.addcmul(self.offset, pre, self.inverse).clamp_(0, self.last).to(torch.int32)
        return place.add_(self.base)

    def look_up(self, place: Tensor) -> Tensor:
        """Activations at places of any shape."""
        return self.values.index_select(0, place.reshape(-1)).reshape(place.shape)

    def derivative(self, place: Tensor) -> Tensor:
        """Slopes at places of any shape."""
        return self.slopes.index_select(0, place.reshape(-1)).reshape(place.shape)


def join(parts: tuple[Table, ...], hidden: int) -> GateTables:
    """Tables of equal width, each for `hidden` units."""
    first = parts[0].values
    size = first.numel()

    def spread(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=first.dtype, device=first.device).repeat_interleave(hidden)

    return GateTables(
        parts,
        torch.cat([t.values for t in parts]),
        torch.cat([t.slopes for t in parts]),
        spread([1.0 / t.grid.scale for t in parts]),
        spread([t.grid.zero_point - t.grid.qmin + 0.5 for t in parts]),
        spread([float(i * size) for i in range(len(parts))]).to(torch.int32),
        size - 1,
    )
