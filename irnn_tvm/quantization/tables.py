"""Piecewise-linear tables of the quantizer: known output grids, flat ends, and a cache of fits."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from irnn_tvm.errors import CalibrationError, QuantizationError
from irnn_tvm.ops.pwl_fit import PwlTable, fit
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.observers import Histogram

# Beyond these inputs sigmoid and tanh stay within half a step of their limit on the 8- or 16-bit output grid,
# so a pre-activation needs no larger range: 1 - sigmoid(11.1) < 2**-16, 1 - tanh(5.9) < 2**-16, and 2**-9,
# 2**-8 for 8 bits.
FLAT = {("sigmoid", 16): 11.1, ("tanh", 16): 5.9, ("sigmoid", 8): 6.24, ("tanh", 8): 3.12}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, np.float64))))


def tanh(x: np.ndarray) -> np.ndarray:
    """tanh in float64."""
    return np.asarray(np.tanh(np.asarray(x, np.float64)))


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sigmoid": sigmoid, "tanh": tanh}


def sigmoid_qparams(bits: int) -> QParams:
    """[0, 1] on the whole grid (8 bits) or on its positive half (16 bits)."""
    return QParams(2.0**-15, 0, 16) if bits == 16 else QParams(2.0**-8, -128, 8)


def tanh_qparams(bits: int) -> QParams:
    """[-1, 1) symmetric."""
    return QParams(2.0**-15, 0, 16) if bits == 16 else QParams(2.0**-7, 0, 8)


OUTPUTS: dict[str, Callable[[int], QParams]] = {"sigmoid": sigmoid_qparams, "tanh": tanh_qparams}


# Tables that were fitted last: training, its evaluations and the conversion at its end ask for the same ones.
_KEPT = 512
_fitted: OrderedDict[tuple[Any, ...], PwlTable] = OrderedDict()


def fit_table(
    function: Callable[[np.ndarray], np.ndarray],
    pieces: int,
    inp: QParams,
    out: QParams,
    histogram: Histogram | None,
) -> PwlTable:
    """Fits a table, weighted by how often calibration saw each input. A function that is not finite on part
    of the input grid raises CalibrationError.
    """
    weights = histogram.on_grid(inp.scale, inp.zero_point, inp.bits) if histogram is not None else None
    if weights is not None and weights.sum() <= 0:
        weights = None
    with np.errstate(all="ignore"):
        values = np.asarray(function(inp.dequantize(np.arange(inp.qmin, inp.qmax + 1))), np.float64)
    digest = hashlib.blake2b(values.tobytes())
    digest.update(b"" if weights is None else weights.tobytes())
    key = (digest.digest(), pieces, inp, out)
    table = _fitted.pop(key, None)
    if table is None:
        try:
            table = fit(function, pieces, inp, out, weights)
        except QuantizationError as error:
            raise CalibrationError(f"activation table: {error}") from error
    _fitted[key] = table
    if len(_fitted) > _KEPT:
        _fitted.popitem(last=False)
    return table
