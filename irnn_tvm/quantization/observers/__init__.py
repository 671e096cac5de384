"""Observers: small classes that watch a float tensor during calibration and propose the range to quantize."""

from irnn_tvm.quantization.observers.base import Observer
from irnn_tvm.quantization.observers.histogram import Histogram
from irnn_tvm.quantization.observers.min_max import MinMaxObserver
from irnn_tvm.quantization.observers.moving_average import MovingAverageObserver
from irnn_tvm.quantization.observers.mse import MseObserver
from irnn_tvm.quantization.observers.percentile import PercentileObserver

OBSERVERS: dict[str, type[Observer]] = {
    observer.name: observer
    for observer in (MinMaxObserver, MovingAverageObserver, PercentileObserver, MseObserver)
}

__all__ = [
    "OBSERVERS",
    "Histogram",
    "MinMaxObserver",
    "MovingAverageObserver",
    "MseObserver",
    "Observer",
    "PercentileObserver",
]
