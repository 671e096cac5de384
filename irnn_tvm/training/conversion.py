"""convert: the end of training."""

from __future__ import annotations

import copy

import torch

from irnn_tvm.boundary import public
from irnn_tvm.errors import QuantizationError
from irnn_tvm.quantization.effective_weights import effective_weights
from irnn_tvm.quantization.integer_model import IntegerModel
from irnn_tvm.quantization.measure import measure
from irnn_tvm.quantization.ptq import evaluation_mode
from irnn_tvm.training.twin import QatModel


@public
def convert(qat: QatModel) -> IntegerModel:
    """The integer model of a trained twin, equal to the twin's own evaluation; `irnn_tvm.build` takes it.

    Its report (scales, saturation, noise) is measured on the latest training batches. Raises QuantizationError for
    anything but a twin, CalibrationError when no training step has shown the ranges yet.
    """
    if not isinstance(qat, QatModel):
        raise QuantizationError(
            f"convert takes what prepare_qat returned, not a {type(qat).__name__}; to quantize a float model without "
            "training use irnn_tvm.quantize"
        )
    emission = qat.emission()
    with evaluation_mode(qat.model), torch.no_grad(), effective_weights(qat.model):
        report = measure(emission.planner, emission.emitter, emission.integer, list(qat.recent))
    integer = copy.deepcopy(emission.integer)
    integer.report = report
    return integer
