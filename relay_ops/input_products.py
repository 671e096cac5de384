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
from .vectors import JoinedVectors, Vectors, join, joined_shape


def inputs(tile: Tiling, batch: int, w_ih: np.ndarray, bias: np.ndarray) -> Inputs:
    """w_ih int8 [gates * rows, X], bias int32 [gates * rows] -> sums int32 [batch, tiles, gates * lanes] per step."""
    tile, width = tile.for_vectors(AHEAD * batch), w_ih.shape[1]
    packed = [tile.pack_weights(w_ih), tile.pack_start(bias)]
    joined = joined_shape(tile.isa, AHEAD * batch, width)
    return Inputs(
        build(tile, batch, width),
        [relax.const(a, str(a.dtype)) for a in packed],
        relax.TensorType([AHEAD, batch, tile.count, tile.width], "int32"),
        [] if joined is None else [relax.TensorType(joined, "int8")],
    )


def build(tile: Tiling, batch: int, width: int) -> Any:
    """PrimFunc x [m, X], weights, starts -> sums [m, tiles, gates * lanes], (joined x)."""
    m, isa = tirx.Var("m", "int64"), tile.isa
    shape = joined_shape(isa, AHEAD * batch, width)
    attrs = {MACS_ATTR: batch * tile.gates * tile.rows * width}
    if shape is None:  # else x is joined first
        attrs[INDEPENDENT_ATTR] = 1
    with kernel("input_products", "matmul", attrs, 1 if shape is None else 2) as k:
        x = k.arg("x", (m, width), "int8")
        w = k.arg("w", tile.weight_shape(width), "int8")
        start = k.arg("start", tile.start_shape, "int32")
        sums = k.arg("sums", (m, tile.count, tile.width), "int32")
        joined = None if shape is None else k.arg("joined", shape, "int8")
        product = Product(tile, width, w, start)

        def unit(name: str, rows: list[Any], vj: Any, valid: int) -> None:
            del valid  # padding is computed, too: whole tiles are read
            many = len(rows)
            vectors, region = Vectors(x, [(row,) for row in rows]), x[rows[0] : rows[0] + many, 0:width]
            if joined is not None and many == isa.stored:
                vectors = JoinedVectors(joined, [(rows[0] // many,)], many)
                region = joined[rows[0] // many, 0 : joined.shape[1], 0 : joined.shape[2]]
            T.reads(region, *product.regions(vj))
            T.writes(sums[rows[0] : rows[0] + many, vj, 0 : tile.width])
            sum_products(f"x{name}", product, vj, vectors, [(sums, (row, vj)) for row in rows])

        if joined is not None:
            join(isa, x, joined)
        for_each_tile(tile, m, unit, isa.stored or None)
    return k.result
