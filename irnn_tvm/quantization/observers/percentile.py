"""Percentile: leave out a share of outliers at each end."""

from irnn_tvm.quantization.observers.base import Observer


class PercentileObserver(Observer):
    """The values between which `percentile` per cent of the data lie, the rest split evenly between both
    ends.
    """

    name = "percentile"

    def __init__(self, bits: int = 8, symmetric: bool = False, percentile: float = 99.99) -> None:
        super().__init__(bits, symmetric)
        self.percentile = percentile

    def seen_range(self) -> tuple[float, float]:
        tail = (1.0 - self.percentile / 100.0) / 2.0
        low = max(self.low, self.histogram.quantile(tail))
        high = min(self.high, self.histogram.quantile(1.0 - tail))
        return low, high
