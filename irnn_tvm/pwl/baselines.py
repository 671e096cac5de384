"""What adaptive tables are compared with: uniform knots, the paper's greedy knots, a plain lookup table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irnn_tvm.ops.pwl_fit import Function, PwlTable, fit, target_on_grid
from irnn_tvm.ops.pwl_knots import greedy_starts, uniform_starts
from irnn_tvm.ops.qparams import QParams


def uniform(
    fn: Function,
    pieces: int,
    in_qparams: QParams,
    out_qparams: QParams,
    histogram: np.ndarray | None = None,
) -> PwlTable:
    """`fit` with pieces of equal length (to one input): lines, rounding and errors raised are the same."""
    return fit(
        fn, pieces, in_qparams, out_qparams, histogram, starts=lambda f, w, p, out: uniform_starts(f.size, p)
    )


def greedy(
    fn: Function,
    pieces: int,
    in_qparams: QParams,
    out_qparams: QParams,
    histogram: np.ndarray | None = None,
) -> PwlTable:
    """`fit` with the knots that the paper's greedy removal leaves; lines, rounding and errors raised are the same."""
    return fit(
        fn, pieces, in_qparams, out_qparams, histogram, starts=lambda f, w, p, out: greedy_starts(f, w, p)
    )


@dataclass(frozen=True)
class LookupTable:
    """An output for every input: int8 or int16 [2**bits], from the smallest input up."""

    table: np.ndarray

    def evaluate(self, q: np.ndarray, out_bits: int) -> np.ndarray:
        """The entry of each integer input q, saturated to out_bits. Returns int64."""
        entries = self.table[np.asarray(q, np.int64) + self.table.size // 2].astype(np.int64)
        return np.clip(entries, -(1 << (out_bits - 1)), (1 << (out_bits - 1)) - 1)


def lookup(fn: Function, in_qparams: QParams, out_qparams: QParams) -> LookupTable:
    """The function rounded at every input: the smallest error that a grid allows, in 256 or 65536 entries.

    Raises QuantizationError for an unsupported width or a function that is NaN somewhere on the grid.
    """
    target = target_on_grid(fn, in_qparams, out_qparams)
    rounded = np.clip(np.floor(target + 0.5), out_qparams.qmin, out_qparams.qmax)
    return LookupTable(rounded.astype(np.int8 if out_qparams.bits == 8 else np.int16))
