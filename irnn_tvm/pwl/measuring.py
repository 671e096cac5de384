"""Error of a table in output LSBs, against the function rounded nowhere."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from irnn_tvm.errors import QuantizationError
from irnn_tvm.ops.pwl_fit import Function, target_on_grid
from irnn_tvm.ops.qparams import QParams


class Table(Protocol):
    """PwlTable, LookupTable, or anything else that maps integers to integers."""

    def evaluate(self, q: np.ndarray, out_bits: int) -> np.ndarray: ...


class PwlError(NamedTuple):
    """Largest and mean absolute error over all inputs, in output LSBs. A plain lookup table has at most 0.5."""

    max: float
    mean: float


def error_per_input(table: Table, fn: Function, in_qparams: QParams, out_qparams: QParams) -> np.ndarray:
    """table - fn in output LSBs at every input, from the smallest up. float64 [2**bits].

    The function is saturated to the output's range first: no table can return more.
    Raises QuantizationError for an unsupported width or a function that is NaN somewhere on the grid.
    """
    target = target_on_grid(fn, in_qparams, out_qparams)
    grid = np.arange(in_qparams.qmin, in_qparams.qmax + 1)
    return np.asarray(table.evaluate(grid, out_qparams.bits) - target)


def error(
    table: Table,
    fn: Function,
    in_qparams: QParams,
    out_qparams: QParams,
    histogram: np.ndarray | None = None,
) -> PwlError:
    """Largest and mean absolute error over all inputs. histogram: weights of the mean, one >= 0 per input.

    Raises QuantizationError as `error_per_input` does, and for a histogram of the wrong size or without weight.
    """
    size = np.abs(error_per_input(table, fn, in_qparams, out_qparams))
    if histogram is not None:
        histogram = np.asarray(histogram, np.float64)
        if histogram.shape != size.shape or not (histogram >= 0).all() or not 0 < histogram.sum() < np.inf:
            raise QuantizationError(f"a PWL histogram holds {size.size} finite weights >= 0, not all 0")
    return PwlError(float(size.max()), float(np.average(size, weights=histogram)))
