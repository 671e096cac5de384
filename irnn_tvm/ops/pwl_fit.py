"""Fitting of quantization-aware piecewise-linear tables (iRNN, "Quantization-aware piecewise linear approximation").

Everything happens on the integer input grid and in output LSBs: where pieces start (`pwl_knots`), which integer lines
they hold (`pwl_lines`, `pwl_integers`), and the int16 table that `irnn::pwl` evaluates. A piece has a value of its own,
so that lines need not meet; the least-squares lines of neighbours nearly do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from irnn_tvm.errors import QuantizationError
from irnn_tvm.ops.pwl_integers import integer_lines
from irnn_tvm.ops.pwl_knots import best_starts
from irnn_tvm.ops.qparams import QParams

MAX_PIECES = 256
# Unseen inputs keep this share of the average weight, so that a table is sane outside of the calibration data.
HISTOGRAM_FLOOR = 0.05

Function = Callable[[np.ndarray], np.ndarray]
# (target in output LSBs, weight per input, pieces, output grid) -> indices at which runs start, the first one 0
Starts = Callable[[np.ndarray, np.ndarray, int, QParams], np.ndarray]


@dataclass(frozen=True)
class PwlTable:
    """table int16 [3, P] (knots, slopes, values; P a power of two) and the shift of slopes and values."""

    table: np.ndarray
    shift: int

    def evaluate(self, q: np.ndarray, out_bits: int) -> np.ndarray:
        """The integers that `irnn::pwl` returns for integer inputs q. Returns int64."""
        knots, slopes, values = self.table.astype(np.int64)
        q = np.asarray(q, np.int64)
        piece = np.maximum(np.searchsorted(knots, q, side="right") - 1, 0)
        line = slopes[piece] * (q - knots[piece]) + (values[piece] << self.shift)
        if self.shift:
            line = (line + (1 << (self.shift - 1))) >> self.shift
        return np.clip(line, -(1 << (out_bits - 1)), (1 << (out_bits - 1)) - 1)


def fit(
    fn: Function,
    pieces: int,
    in_qparams: QParams,
    out_qparams: QParams,
    histogram: np.ndarray | None = None,
    starts: Starts = best_starts,
) -> PwlTable:
    """Piecewise-linear table of `fn` from the input grid to the output grid, with the least weighted squared error.

    fn: vectorised float64 -> float64; infinities saturate, NaN is refused. in_qparams, out_qparams: 8 or 16 bits.
    pieces: 1..256 segments. histogram: a weight per grid point (256 or 65536 of them, from qmin up), e.g. how often
    calibration saw it. starts: how the knots are chosen.
    The table has room for the next power of two of `pieces`, also where fewer are as good.
    Raises QuantizationError for an unsupported width, number of pieces, histogram or function value.
    """
    if not 1 <= pieces <= MAX_PIECES:
        raise QuantizationError(f"{pieces} PWL pieces are not supported; supported: 1..{MAX_PIECES}")
    target = target_on_grid(fn, in_qparams, out_qparams)
    weight = _weights(histogram, target.size)
    first = starts(target, weight, pieces, out_qparams)
    values, slopes, shift = integer_lines(target, weight, first, out_qparams)
    table = np.zeros((3, 1 << (pieces - 1).bit_length()), np.int16)
    # Unused pieces start at the largest input and hold its value, so that a binary search needs no length.
    last = np.clip(np.floor(target[-1] + 0.5), out_qparams.qmin, out_qparams.qmax)
    table[0], table[2] = in_qparams.qmax, last
    table[:, : first.size] = first + in_qparams.qmin, slopes, values
    return PwlTable(table, shift)


def target_on_grid(fn: Function, in_qparams: QParams, out_qparams: QParams) -> np.ndarray:
    """What a table should return, not rounded: fn in output LSBs at every input, saturated. float64 [2**bits].

    Raises QuantizationError for widths other than 8 and 16 and for a function that is NaN somewhere on the grid.
    """
    if in_qparams.bits not in (8, 16) or out_qparams.bits not in (8, 16):
        raise QuantizationError("PWL tables map 8- or 16-bit integers to 8- or 16-bit integers")
    grid = np.arange(in_qparams.qmin, in_qparams.qmax + 1)
    with np.errstate(all="ignore"):
        real = np.asarray(fn(in_qparams.dequantize(grid)), np.float64)
    if real.shape != grid.shape or np.isnan(real).any():
        raise QuantizationError("the function to approximate is not a number somewhere in its input range")
    with np.errstate(over="ignore"):
        return np.clip(real / out_qparams.scale + out_qparams.zero_point, out_qparams.qmin, out_qparams.qmax)


def _weights(histogram: np.ndarray | None, size: int) -> np.ndarray:
    if histogram is None:
        return np.ones(size)
    weight = np.asarray(histogram, np.float64)
    if weight.shape != (size,) or not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() <= 0:
        raise QuantizationError(f"a PWL histogram holds {size} finite weights >= 0, not all 0")
    return weight / weight.mean() + HISTOGRAM_FLOOR
