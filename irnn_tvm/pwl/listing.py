"""What `irnn-tvm pwl` prints: the pieces of one table, and its error beside that of the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from irnn_tvm.ops.pwl_fit import PwlTable, fit
from irnn_tvm.pwl.functions import FUNCTIONS
from irnn_tvm.pwl.study import METHODS, errors, table_bytes

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Listing:
    """A fitted table and what there is to say about it, ready for JSON."""

    table: PwlTable
    summary: dict[str, Any]


def describe(name: str, pieces: int, bits: int, limit: float | None = None) -> Listing:
    """Fits a function of FUNCTIONS and its baselines. limit: a range of -limit..limit in place of the usual one.

    Raises QuantizationError for an unsupported width, range or number of pieces.
    """
    fn, (inp, out) = FUNCTIONS[name].fn, FUNCTIONS[name].grids(bits, limit)
    table = fit(fn, pieces, inp, out)
    knots, slopes, values = table.table.astype(np.int64)
    # Unused pieces lie on the largest input.
    used = (knots < inp.qmax) | (np.arange(knots.size) == 0)
    summary = {
        "function": name,
        "bits": bits,
        "pieces": pieces,
        "bytes": table_bytes(pieces),
        "shift": table.shift,
        "in_scale": inp.scale,
        "in_zero_point": inp.zero_point,
        "out_scale": out.scale,
        "out_zero_point": out.zero_point,
        "knots": knots[used].tolist(),
        "slopes": slopes[used].tolist(),
        "values": values[used].tolist(),
        **errors(fn, pieces, inp, out),
    }
    return Listing(table, summary)


def tables(listing: Listing) -> list[Table]:
    """Two tables for a terminal: the pieces, and the errors."""
    from rich.table import Table

    s = listing.summary
    title = f"{s['function']}, {s['bits']} bits, {len(s['knots'])} pieces, {s['bytes']} B, shift {s['shift']}"
    pieces = Table("piece", "knot", "slope", "value", "from input", "to output", "LSB per step", title=title)
    for number, (knot, slope, value) in enumerate(zip(s["knots"], s["slopes"], s["values"], strict=True)):
        real = s["in_scale"] * (knot - s["in_zero_point"]), s["out_scale"] * (value - s["out_zero_point"])
        numbers = f"{real[0]:.5g}", f"{real[1]:.5g}", f"{slope / 2 ** s['shift']:.5g}"
        pieces.add_row(str(number), str(knot), str(slope), str(value), *numbers)
    found = Table("error in output LSBs", "largest", "mean")
    for method in (*METHODS, "lookup"):
        found.add_row(method, f"{s[f'{method}_max']:.3f}", f"{s[f'{method}_mean']:.3f}")
    return [pieces, found]
