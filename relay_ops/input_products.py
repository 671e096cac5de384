"""The products of a recurrent layer with its input, W x + b, for several time steps at a time.

They wait for no state, so that steps share every load of a weight: the time loop (scan.py) makes them some steps ahead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from .kernel import INDEPENDENT_ATTR, MACS_ATTR, kernel
from .scan import AHEAD, Inputs
from .tiles import Product, Tiling, for_each_tile, sum_products


def inputs(tile: Tiling, batch: int, w_ih: np.ndarray, bias: np.ndarray) -> Inputs:
    """w_ih int8 [gates * rows, X], bias int32 [gates * rows] -> sums int32 [batch, tiles, gates * lanes] per step."""
    packed = [tile.pack_weights(w_ih), tile.pack_start(bias)]
    return Inputs(
        build(tile, batch, w_ih.shape[1]),
        [relax.const(a, str(a.dtype)) for a in packed],
        relax.TensorType([AHEAD, batch, tile.count, tile.width], "int32"),
    )


def build(tile: Tiling, batch: int, width: int) -> Any:
    """PrimFunc x [m, X], weights, starts -> sums [m, tiles, gates * lanes]."""
    m = tirx.Var("m", "int64")
    with kernel(
        "input_products", "matmul", {MACS_ATTR: batch * tile.gates * tile.rows * width, INDEPENDENT_ATTR: 1}
    ) as k:
        x = k.arg("x", (m, width), "int8")
        w = k.arg("w", tile.weight_shape(width), "int8")
        start = k.arg("start", (tile.count, tile.accumulators), "int32")
        sums = k.arg("sums", (m, tile.count, tile.width), "int32")
        product = Product(tile, width, w, start)

        def unit(name: str, rows: list[Any], vj: Any, valid: int) -> None:
            del valid  # padding is computed, too: whole tiles are read
            T.reads(x[rows[0] : rows[0] + len(rows), 0:width], *product.regions(vj))
            T.writes(sums[rows[0] : rows[0] + len(rows), vj, 0 : tile.width])
            vectors = x, [(row,) for row in rows]
            sum_products(f"x{name}", product, vj, vectors, [(sums, (row, vj)) for row in rows])

        for_each_tile(tile, m, unit)
    return k.result
