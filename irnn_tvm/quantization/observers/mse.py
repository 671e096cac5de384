"""MSE: the clipping range that loses least, saturation and rounding taken together."""

from __future__ import annotations

import numpy as np

from irnn_tvm.quantization.observers.base import Observer

STEPS = 64
SMALLEST_SHARE = 0.2  # narrower ranges than this share of the extremes are never searched


class MseObserver(Observer):
    """Searches the range with the smallest mean squared quantization error over the histogram.

    Both ends shrink together first, then each by itself.
    """

    name = "mse"

    def seen_range(self) -> tuple[float, float]:
        low, high = self.low, self.high
        if self.histogram.limit == 0.0:
            return low, high
        if self.symmetric:
            amax = max(abs(low), abs(high))
            low, high = -amax, amax
        shares = np.linspace(SMALLEST_SHARE, 1.0, STEPS)
        best = min(shares, key=lambda s: self._loss(low * s, high * s))
        if self.symmetric:
            return low * best, high * best
        a = b = float(best)
        for _ in range(2):
            a = float(min(shares, key=lambda s: self._loss(low * s, high * b)))
            b = float(min(shares, key=lambda s: self._loss(low * a, high * s)))
        return low * a, high * b

    def _loss(self, low: float, high: float) -> float:
        low, high = min(low, 0.0), max(high, 0.0)
        levels = (1 << self.bits) - 1
        scale = (high - low) / levels
        if scale <= 0.0:
            return float("inf")
        used = self.histogram.counts > 0
        values, counts = self.histogram.centers()[used], self.histogram.counts[used]
        inside = np.clip(values, low, high)
        # Within the range the rounding error is uniform; a value exactly on the clipped part adds its
        # distance.
        return float((counts * (values - inside) ** 2).sum() + counts.sum() * scale * scale / 12.0)
