"""MinMax: represent everything that was seen."""

from irnn_tvm.quantization.observers.base import Observer


class MinMaxObserver(Observer):
    """The extremes over all batches. Nothing of the calibration data saturates."""

    name = "minmax"

    def seen_range(self) -> tuple[float, float]:
        return self.low, self.high
