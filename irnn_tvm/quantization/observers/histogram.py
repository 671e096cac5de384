"""A histogram of a stream of float tensors whose range is not known in advance."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BINS_PER_SIDE = 2048
TINY = 1e-30  # the reciprocal of a bin's width may be infinite in float32 below


class Histogram:
    """Counts of values over [-limit, limit], limit a power of two that doubles whenever a larger value
    arrives.

    Doubling merges pairs of neighbouring bins, so no earlier value is lost and the order of batches does not
    matter beyond the bin width (limit / 2048).
    """

    def __init__(self) -> None:
        self.limit = 0.0
        self.counts = np.zeros(2 * BINS_PER_SIDE)
        self.zeros = 0  # values before the first non-zero one, when there is no limit yet

    def update(self, values: Tensor) -> None:
        """Adds the values of a finite float tensor of any shape."""
        data = values.detach().reshape(-1)
        if data.dtype != torch.float64:
            data = data.float()
        if data.numel() == 0:
            return
        amax = float(data.abs().max())
        if amax == 0.0 and self.limit == 0.0:
            self.zeros += data.numel()
            return
        if self.limit == 0.0:
            self.limit = float(2.0 ** np.ceil(np.log2(amax)))
            self.counts[BINS_PER_SIDE] += self.zeros
        while amax > self.limit:
            self._double()
        if self.limit < TINY:
            data = data.double()
        # The width of a bin is a power of two, so that the quotient is exact; the last bin holds its upper end as well.
        bins = (
            (data * (BINS_PER_SIDE / self.limit))
            .floor_()
            .add_(BINS_PER_SIDE)
            .clamp_(max=self.counts.size - 1)
        )
        self.counts += torch.bincount(bins.to(torch.int64), minlength=self.counts.size).cpu().numpy()

    def _double(self) -> None:
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros_like(self.counts)
        quarter = merged.size // 2
        self.counts[quarter : quarter + merged.size] = merged
        self.limit *= 2.0

    @property
    def total(self) -> float:
        return float(self.counts.sum()) + (self.zeros if self.limit == 0.0 else 0)

    def edges(self) -> np.ndarray:
        """Bin edges, float64 [bins + 1]."""
        return np.linspace(-self.limit, self.limit, self.counts.size + 1)

    def centers(self) -> np.ndarray:
        """Bin centres, float64 [bins]."""
        edges = self.edges()
        return (edges[1:] + edges[:-1]) / 2

    def quantile(self, share: float) -> float:
        """The value below which `share` (0..1) of all values lie, interpolated within its bin."""
        if self.limit == 0.0:
            return 0.0
        cumulative = np.concatenate(([0.0], np.cumsum(self.counts))) / self.counts.sum()
        return float(np.interp(share, cumulative, self.edges()))

    def share_outside(self, lo: float, hi: float) -> float:
        """Share of all values below lo or above hi, to the resolution of a bin."""
        if self.limit == 0.0:
            return 0.0
        cumulative = np.concatenate(([0.0], np.cumsum(self.counts))) / self.counts.sum()
        edges = self.edges()
        return float(np.interp(lo, edges, cumulative) + 1.0 - np.interp(hi, edges, cumulative))

    def on_grid(self, scale: float, zero_point: int, bits: int) -> np.ndarray:
        """How many values fall on each integer q of a grid real = scale * (q - zero_point). float64
        [2**bits].

        Values beyond the grid count at its ends, where saturation puts them.
        """
        size = 1 << bits
        if self.limit == 0.0:
            return np.ones(size)
        q = np.arange(size) - (size >> 1)
        borders = scale * (np.concatenate((q - 0.5, [q[-1] + 0.5])) - zero_point)
        cumulative = np.concatenate(([0.0], np.cumsum(self.counts)))
        at = np.interp(borders, self.edges(), cumulative)
        at[0], at[-1] = 0.0, cumulative[-1]
        return np.diff(at)
