"""The piecewise-linear study: fit a function to an integer grid, compare with baselines, measure and look at the error.

    inp, out = FUNCTIONS["sigmoid"].grids(bits=8)
    table = fit(FUNCTIONS["sigmoid"].fn, 16, inp, out)
    error(table, FUNCTIONS["sigmoid"].fn, inp, out)  # PwlError(max=..., mean=...) in output LSBs

Tables are those that `irnn::pwl` evaluates on every target (docs/numerics.md); docs/pwl.md has what was measured.
"""

from irnn_tvm.ops.pwl_fit import MAX_PIECES, PwlTable, fit
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.pwl.baselines import LookupTable, greedy, lookup, uniform
from irnn_tvm.pwl.figure import plot
from irnn_tvm.pwl.functions import FUNCTIONS, StudiedFunction
from irnn_tvm.pwl.listing import Listing, describe, tables
from irnn_tvm.pwl.measuring import PwlError, error, error_per_input

__all__ = [
    "FUNCTIONS",
    "MAX_PIECES",
    "Listing",
    "LookupTable",
    "PwlError",
    "PwlTable",
    "QParams",
    "StudiedFunction",
    "describe",
    "error",
    "error_per_input",
    "fit",
    "greedy",
    "lookup",
    "plot",
    "tables",
    "uniform",
]
