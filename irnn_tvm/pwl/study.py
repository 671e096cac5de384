"""Rows of the study: one table and its baselines on one pair of grids (benchmarks/pwl_study.py, `irnn-tvm pwl`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from irnn_tvm.ops.pwl_fit import Function, PwlTable, fit
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.pwl.baselines import greedy, lookup, uniform
from irnn_tvm.pwl.measuring import Table, error

METHODS: dict[str, Callable[..., PwlTable]] = {"adaptive": fit, "greedy": greedy, "uniform": uniform}


def errors(
    fn: Function, pieces: int, inp: QParams, out: QParams, histogram: np.ndarray | None = None
) -> dict[str, float]:
    """Largest and mean error of every method in output LSBs, keys `adaptive_max`, `adaptive_mean`, `lookup_max` ...

    histogram: weights of the fit and of the mean, one per input. Raises QuantizationError as `fit` does.
    """
    tables: dict[str, Table] = {"lookup": lookup(fn, inp, out)}
    tables |= {name: method(fn, pieces, inp, out, histogram) for name, method in METHODS.items()}
    result: dict[str, float] = {}
    for name, table in tables.items():
        found = error(table, fn, inp, out, histogram)
        result |= {f"{name}_max": found.max, f"{name}_mean": found.mean}
    return result


def table_bytes(pieces: int) -> int:
    """Flash of a table: knot, slope and value of 2 bytes each for the next power of two of pieces."""
    return 6 << (pieces - 1).bit_length()


def gain_limit(fn: Function, inp: QParams) -> float:
    """How many times smaller than with uniform knots the mean error can get, for many pieces and fine grids.

    The error of a piece of length h goes with |fn''| h^2, so that the best length goes with |fn''|^(-1/3). Then the
    means stand as W^2 integral(|fn''|) to integral(|fn''|^(1/3))^3, W the width of the range.
    """
    x = np.linspace(float(inp.dequantize(inp.qmin)), float(inp.dequantize(inp.qmax)), 4001)
    step = x[1] - x[0]
    bend = np.abs(np.diff(fn(x), 2)) / step**2
    width = x[-1] - x[0]
    return float(width**2 * bend.sum() * step / (np.cbrt(bend).sum() * step) ** 3)


def bell(inp: QParams, deviation: float) -> np.ndarray:
    """A histogram: a normal distribution around 0, its standard deviation relative to the larger end of the grid."""
    grid = inp.dequantize(np.arange(inp.qmin, inp.qmax + 1))
    return np.asarray(np.exp(-0.5 * (grid / (deviation * np.abs(grid).max())) ** 2))
