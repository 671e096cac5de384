"""Post-training quantization: float torch modules in, integer modules out."""

from irnn_tvm.quantization.config import QuantConfig
from irnn_tvm.quantization.integer_model import IntegerModel, TensorSpec
from irnn_tvm.quantization.ptq import quantize
from irnn_tvm.quantization.report import ReportRow

__all__ = ["IntegerModel", "QuantConfig", "ReportRow", "TensorSpec", "quantize"]
