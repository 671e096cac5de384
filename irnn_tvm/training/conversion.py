"""convert: the end of training."""

from __future__ import annotations

import copy
import warnings

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from irnn_tvm.boundary import public
from irnn_tvm.errors import QuantizationError
from irnn_tvm.quantization.integer_model import IntegerModel
from irnn_tvm.training.twin import QatModel

WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)


@public
def convert(qat: nn.Module, report: bool = True) -> IntegerModel:
    """The integer model of a trained twin, equal to the twin's own evaluation; `irnn_tvm.build` takes it.

    qat: the twin, or what torch.compile, DistributedDataParallel, DataParallel or AveragedModel made of it. report:
    measure scales, saturation and noise on the latest training batches (False: the model's report is empty). Warns
    while ranges are not frozen. Raises QuantizationError for anything but a twin, CalibrationError when no training
    step has shown the ranges yet or a weight is not finite.
    """
    twin = unwrapped(qat)
    if not isinstance(twin, QatModel):
        raise QuantizationError(
            f"convert takes what prepare_qat returned, not a {type(qat).__name__}; to quantize a float model without "
            "training use irnn_tvm.quantize"
        )
    emission = twin.emission()
    if twin.phase != "frozen" and not twin.settled:
        warnings.warn(
            f"the twin is at step {twin.steps}, in phase {twin.phase!r}; its ranges freeze at step "
            f"{twin.config.frozen_from}. It is converted with ranges that still move, and was never trained with its "
            "activation tables: go on training (twin.step() counts the steps), or call twin.calibrate(batches)",
            stacklevel=3,
        )
    rows = twin.report() if report else []
    integer = copy.deepcopy(emission.integer)
    integer.report = rows
    return integer


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside of torch's wrappers."""
    while True:
        if isinstance(module, WRAPPERS):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        else:
            return module
