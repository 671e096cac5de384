"""MovingAverage: extremes smoothed over batches, so that one odd batch does not decide."""

from irnn_tvm.quantization.observers.base import Observer


class MovingAverageObserver(Observer):
    """Exponential average of the extremes of each batch; `momentum` is the weight of the newest batch (0..1]."""

    name = "moving_average"

    def __init__(self, bits: int = 8, symmetric: bool = False, momentum: float = 0.1) -> None:
        super().__init__(bits, symmetric)
        self.momentum = momentum
        self.average: tuple[float, float] | None = None

    def observe_batch(self, low: float, high: float) -> None:
        if self.average is None:
            self.average = (low, high)
        else:
            keep = 1.0 - self.momentum
            self.average = (
                keep * self.average[0] + self.momentum * low,
                keep * self.average[1] + self.momentum * high,
            )

    def seen_range(self) -> tuple[float, float]:
        return self.average if self.average is not None else (self.low, self.high)
