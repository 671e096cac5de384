"""A figure of one table: curve, knots, and the error in output LSBs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from irnn_tvm.errors import ToolNotFoundError
from irnn_tvm.figures import save
from irnn_tvm.ops.pwl_fit import Function, PwlTable, target_on_grid
from irnn_tvm.ops.qparams import QParams
from irnn_tvm.pwl.measuring import error_per_input

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A figure is some hundred pixels wide; 65536 inputs are drawn as the extremes of runs of inputs.
COLUMNS = 1024


def plot(
    table: PwlTable,
    fn: Function,
    in_qparams: QParams,
    out_qparams: QParams,
    path: Path | str | None = None,
    title: str = "",
) -> Figure:
    """Curve of the table over the function, its knots, and below them the error at every input.

    path: where to write the figure; the suffix picks the format (png, svg, pdf). Returns the matplotlib figure.
    Raises ToolNotFoundError without matplotlib, InputError when the file cannot be written, QuantizationError as
    `error` does.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ToolNotFoundError("figures need matplotlib; pip install 'irnn-tvm[plots]'") from None

    wrong = error_per_input(table, fn, in_qparams, out_qparams)
    grid = np.arange(in_qparams.qmin, in_qparams.qmax + 1)
    real = in_qparams.dequantize(grid)
    exact = out_qparams.dequantize(target_on_grid(fn, in_qparams, out_qparams))
    returned = out_qparams.dequantize(table.evaluate(grid, out_qparams.bits))
    # Unused pieces lie on the largest input.
    knots = np.unique(table.table[0].astype(np.int64))
    knots = knots[(knots < in_qparams.qmax) | (knots == knots[0])]

    figure = Figure(figsize=(7.0, 4.6), dpi=110, layout="constrained")
    curve, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    columns = np.unique(np.linspace(0, grid.size - 1, COLUMNS).astype(np.int64))
    curve.plot(real[columns], exact[columns], color="0.6", linewidth=3, label="function")
    curve.plot(real[columns], returned[columns], color="C0", linewidth=1, label=f"{knots.size} pieces")
    curve.plot(
        in_qparams.dequantize(knots),
        out_qparams.dequantize(table.evaluate(knots, out_qparams.bits)),
        "o",
        color="C3",
        markersize=4,
        label="knots",
    )
    curve.set_title(title)
    curve.legend(fontsize=8)
    runs = np.array_split(np.arange(grid.size), min(COLUMNS, grid.size))
    below.fill_between(
        [real[run[0]] for run in runs],
        [min(0.0, wrong[run].min()) for run in runs],
        [max(0.0, wrong[run].max()) for run in runs],
        step="post",
        color="C0",
        alpha=0.7,
        linewidth=0,
    )
    below.axhline(0.0, color="0.3", linewidth=0.5)
    below.set_ylabel("error, output LSB")
    below.set_xlabel("input")
    if path is not None:
        save(figure, path)
    return figure
