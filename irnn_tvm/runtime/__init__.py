"""Runs built libraries. Imports NumPy and the standard library only, neither PyTorch nor TVM."""

from irnn_tvm.runtime.library import Library, load
from irnn_tvm.runtime.streams import Stream
from irnn_tvm.runtime.tensors import Tensor, TimeRange

__all__ = ["Library", "Stream", "Tensor", "TimeRange", "load"]
