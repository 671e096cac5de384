"""The functions of the study, with the ranges that quantized networks give them."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf

import numpy as np

from irnn_tvm.errors import QuantizationError
from irnn_tvm.ops.pwl_fit import Function
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.quantization.tables import FLAT, sigmoid, sigmoid_qparams, tanh, tanh_qparams


@dataclass(frozen=True)
class StudiedFunction:
    """A function, its input range (low, high) per width, and its output range.

    outputs: a fixed output grid per width where quantization has one, else the range (low, high) of outputs.
    """

    fn: Function
    inputs: dict[int, tuple[float, float]]
    outputs: dict[int, QParams] | tuple[float, float]
    note: str

    def grids(self, bits: int, limit: float | None = None) -> tuple[QParams, QParams]:
        """Input and output grids of 8 or 16 bits. limit: a range of -limit..limit in place of the usual one.

        Raises QuantizationError for other widths and for a limit that is not positive and finite.
        """
        if bits not in self.inputs:
            raise QuantizationError(f"{bits} bits are not supported; supported: 8, 16")
        if limit is not None and not 0 < limit < np.inf:
            raise QuantizationError(f"a range of -{limit}..{limit} holds no inputs; give a positive number")
        low, high = self.inputs[bits] if limit is None else (-limit, limit)
        outputs = self.outputs
        return _grid(low, high, bits), outputs[bits] if isinstance(outputs, dict) else _grid(*outputs, bits)


def _grid(low: float, high: float, bits: int) -> QParams:
    """A symmetric range with zero point 0, any other (that holds 0) over the whole grid."""
    if low == -high:
        return QParams(high / ((1 << (bits - 1)) - 1), 0, bits)
    scale = (high - low) / ((1 << bits) - 1)
    return QParams(scale, int(np.floor(-low / scale + 0.5)) - (1 << (bits - 1)), bits)


def _exp(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(x))


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / np.sqrt(1.0 + x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * x * (1.0 + np.vectorize(erf)(x / np.sqrt(2.0))))


def _flat(name: str) -> dict[int, tuple[float, float]]:
    return {bits: (-FLAT[name, bits], FLAT[name, bits]) for bits in (8, 16)}


_UNIT = {bits: sigmoid_qparams(bits) for bits in (8, 16)}

FUNCTIONS: dict[str, StudiedFunction] = {
    "sigmoid": StudiedFunction(
        sigmoid, _flat("sigmoid"), _UNIT, "up to where it is flat on the output grid, as gates are quantized"
    ),
    "tanh": StudiedFunction(
        tanh,
        _flat("tanh"),
        {bits: tanh_qparams(bits) for bits in (8, 16)},
        "up to where it is flat on the output grid, as gates are quantized",
    ),
    "exp": StudiedFunction(
        _exp, {8: (-8.0, 0.0), 16: (-16.0, 0.0)}, _UNIT, "distance below the maximum, as in softmax"
    ),
    "rsqrt": StudiedFunction(
        _rsqrt,
        dict.fromkeys((8, 16), (0.0, 3.0)),
        _UNIT,
        "1/sqrt(1 + x), x + 1 in [1, 4]: what is left after an even shift, as in a normalisation",
    ),
    "gelu": StudiedFunction(
        _gelu, dict.fromkeys((8, 16), (-4.0, 4.0)), (-0.17, 4.0), "as an activation between layers"
    ),
}
