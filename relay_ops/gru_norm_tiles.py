"""The kernel of one irnn.gru_norm step in tiles of units (formulas: gru_norm_formulas.py).

The products of all rows of the batch first, on their 16-bit grids; then, row by row, their four statistics, gates and
state.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from . import normalize_lanes
from .from_inputs import Ahead, Sums
from .gru_norm_formulas import GATES, PRODUCTS, N, NormLayer, locals_of
from .lanes import Lanes
from .lstm_general_layout import Shapes
from .normalize import CELLS
from .planes import Planes
from .products import Product, local_sums, sum_products
from .registry import attr
from .tiles import TileState, Tiling, for_each_tile

Expr = Any
GAINS = ("gain_ih", "gain_hh", "gate_bias", "reset_bias")


def pack(arrays: dict[str, np.ndarray], tile: Tiling) -> list[np.ndarray]:
    """Constants of `build` in its order."""
    product = [tile.pack_weights(arrays["w_hh"]), tile.pack_start(arrays["bias_hh"])]
    vectors = [tile.pack(arrays[name]) for name in ("mult_ih", "mult_hh", *GAINS[:-1])]
    reset = replace(tile, gates=1).pack(arrays["reset_bias"])
    return [*product, *vectors, reset, tile.pack_table(arrays["tables"])]


def scratch_shapes(layer: NormLayer, tile: Tiling) -> Shapes:
    """Scratch parameters in order: the products by name, whole tiles, where what is padding stays 0; planes of h."""
    products: Shapes = {
        name: ((layer.batch, tile.count * n * tile.lanes), "int16") for name, n in PRODUCTS.items()
    }
    return products | Planes(tile.isa, layer.batch, layer.hidden).shapes()


def build(layer: NormLayer, tile: Tiling, source: Ahead) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in. source: of the products with x."""
    batch, hidden, size = layer.batch, layer.hidden, tile.width
    state_type = f"int{layer.state_bits}"
    scratch = scratch_shapes(layer, tile)
    macs = batch * hidden * GATES * (hidden + source.depth)
    with layer.open("gru_norm_step", 2 + len(scratch) + source.outputs, macs) as k:
        source.open(k)
        named = {"h8": k.arg("h8", (batch, hidden), "int8")}
        named["h"] = k.arg("h", (batch, hidden), state_type)
        named["w"] = k.arg("w", tile.weight_shape(hidden), "int8")
        named["bias_hh"] = k.arg("bias_hh", tile.start_shape, "int32")
        for name in ("mult_ih", "mult_hh", *GAINS):
            width = tile.lanes if name == "reset_bias" else size
            named[name] = k.arg(name, (tile.count, width), "int32")
        named["tables"] = k.arg("tables", (GATES, *tile.table_shape(layer.pieces)), "int16")
        source.open_constants(k)
        named["y"] = k.arg("y", (batch, hidden), "int8")
        named["h_out"] = k.arg("h_out", (batch, hidden), state_type)
        named |= {name: k.arg(name, *shape) for name, shape in scratch.items()}
        source.open_scratch(k)
        step = _Step(layer, tile, named, source)
        source.prepare()
        step.planes.prepare(named["h8"])
        for_each_tile(tile, batch, step.products)
        with T.serial(batch) as b:
            with T.sblock("row"):
                step.row(T.axis.spatial(batch, b))
    return k.result


class _Step:
    def __init__(self, layer: NormLayer, tile: Tiling, named: dict[str, Any], source: Ahead) -> None:
        self.layer, self.tile, self.named, self.source = layer, tile, named, source
        self.lanes = Lanes(tile.lanes, tile.isa)
        self.planes = Planes(tile.isa, layer.batch, layer.hidden)
        self.planes.take(named)

    def _vectors(self, names: tuple[str, ...], rows: Any) -> list[Any]:
        return [self.named[name][rows, 0 : int(self.named[name].ty.shape[1])] for name in names]

    def _kept(self, rows: Any, vj: Expr) -> list[Any]:
        """The products of a tile."""
        sizes = {name: n * self.tile.lanes for name, n in PRODUCTS.items()}
        return [self.named[name][rows, vj * n : vj * n + n] for name, n in sizes.items()]

    def products(self, name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
        """Both products of a tile on their grids."""
        del valid  # padding is computed, too: whole tiles are read
        layer, lanes, named, tile = self.layer, self.lanes, self.named, self.tile
        these = slice(rows[0], rows[0] + len(rows))
        product = Product(tile, layer.hidden, named["w"], named["bias_hh"])
        multipliers = self._vectors(("mult_ih", "mult_hh"), vj)
        T.reads(*self.planes.regions(named["h8"], these), *self.source.regions(these, vj),
                *product.regions(vj), *multipliers)  # fmt: skip
        T.writes(*self._kept(these, vj))
        sums, wide = local_sums(tile, len(rows)), lanes.sums()
        sums_x = self.source.sum(name, rows, vj)
        sum_products(f"h{name}", product, vj, self.planes.vectors(named["h8"], rows), sums)
        shifts = dict(zip(PRODUCTS, attr(layer.call, "norm_shift"), strict=True))
        for number, (vb, of_h, of_x) in enumerate(zip(rows, sums, sums_x, strict=True)):
            with T.sblock(f"rescale{name}_{number}"):
                T.reads(*(b[(*outer, slice(0, tile.width))] for b, outer in (of_h, of_x)), *multipliers)
                T.writes(*self._kept(vb, vj))

                def keep(vb: Expr = vb, of_h: Sums = of_h, of_x: Sums = of_x) -> None:
                    for out, n in PRODUCTS.items():
                        (buffer, outer), side = (of_x, "ih") if out.startswith("x") else (of_h, "hh")
                        for gate in (N,) if n == 1 else range(n):
                            at = gate * tile.lanes
                            term = lanes.load(buffer, *outer, at), lanes.load(named[f"mult_{side}"], vj, at)
                            value = lanes.rescale(wide, [term], shifts[out], 0, 16, layer.fits)
                            lanes.store(named[out], value, vb, vj * n * tile.lanes + at % (n * tile.lanes))

                lanes.each(tile.lanes, keep)

    def row(self, vb: Expr) -> None:
        """Statistics, gates and state of a row of the batch, inside its block."""
        layer, lanes, named, tile = self.layer, self.lanes, self.named, self.tile
        everything = [named[name][vb, 0 : tile.count * n * tile.lanes] for name, n in PRODUCTS.items()]
        planes, row = named["tables"].ty.shape[1:]
        tables = named["tables"][0:GATES, 0:planes, 0:row]
        constants = self._vectors(GAINS, slice(0, tile.count))
        T.reads(*everything, named["h"][vb, 0 : layer.hidden], *constants, tables)
        T.writes(named["y"][vb, 0 : layer.hidden], named["h_out"][vb, 0 : layer.hidden])
        cells = {}
        for name, eps in zip(PRODUCTS, attr(layer.call, "norm_eps"), strict=True):
            n, row = layer.row_length(name), (named[name], (vb,))
            cells[name] = normalize_lanes.row_statistics(tile.isa, layer.kind, f"norm_{name}", n, row, eps)

        def unit(name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
            del name, rows  # it is one row
            units = tile.units(vj, valid)
            T.reads(*self._kept(vb, vj), *(c[0:CELLS] for c in cells.values()), named["h"][vb, units],
                    *self._vectors(GAINS, vj), tables)  # fmt: skip
            T.writes(named["y"][vb, units], named["h_out"][vb, units])
            state, local = TileState(lanes, tile, valid, f"int{layer.state_bits}"), locals_of(lanes)

            def element(product: str, gate: int) -> Expr:
                size = PRODUCTS[product] * tile.lanes
                return fp.i32(lanes.load(named[product], vb, vj * size + gate * tile.lanes % size))

            def vector(name: str, gate: int) -> Expr:
                return lanes.load(named[name], vj, gate * tile.lanes)

            def store(new: Expr, copy: Expr) -> None:
                state.store(new, named["h_out"], vb, vj)
                state.store(copy, named["y"], vb, vj)

            def update() -> None:
                old = fp.i32(state.load(named["h"], vb, vj))
                layer.update(lanes, cells, element, vector, named["tables"], old, store, local)

            lanes.each(valid, update)

        for_each_tile(tile, 1, unit)
