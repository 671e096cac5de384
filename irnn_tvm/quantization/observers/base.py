"""What every observer is: it sees the float values of one tensor and proposes a range to represent."""

from __future__ import annotations

import math

from torch import Tensor

from irnn_tvm.quantization.observers.histogram import Histogram


class Observer:
    """Base class. Subclasses answer `seen_range`; `low` and `high` are always the extremes that were seen.

    bits and symmetric describe the integers that the range is for (the MSE search needs them). gain: factor on the
    range, which training learns; limit: largest absolute value that the range may reach (a clipped cell state).
    """

    name = "base"

    def __init__(self, bits: int = 8, symmetric: bool = False) -> None:
        self.bits = bits
        self.symmetric = symmetric
        self.low = float("inf")
        self.high = float("-inf")
        self.gain = 1.0
        self.limit = math.inf
        self.histogram = Histogram()

    def update(self, values: Tensor) -> None:
        """Takes in a finite float tensor of any shape; an empty one is ignored."""
        if values.numel() == 0:
            return
        low, high = values.detach().aminmax()
        self.low = min(self.low, float(low))
        self.high = max(self.high, float(high))
        self.histogram.update(values)
        self.observe_batch(float(low), float(high))

    def observe_batch(self, low: float, high: float) -> None:
        """Called with the extremes of every batch; most observers need nothing more than the histogram."""

    @property
    def empty(self) -> bool:
        """True until the first value."""
        return self.low > self.high

    def range(self) -> tuple[float, float]:
        """The (lowest, highest) real value to represent: `seen_range` times `gain`, within +-`limit`."""
        low, high = self.seen_range()
        return max(low * self.gain, -self.limit), min(high * self.gain, self.limit)

    def seen_range(self) -> tuple[float, float]:
        """The (lowest, highest) real value worth representing, of what was seen."""
        raise NotImplementedError
