"""The kernel of one irnn.gru step with reset before the product, in tiles of units (formulas: gru.py's Layer).

Two passes over the units: r and z, of which r * h is wanted of all units, then n.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from .from_inputs import Ahead, Sums
from .lanes import Lanes
from .lstm_general_layout import Shapes
from .planes import Planes
from .products import Product, local_sums, sum_products
from .registry import attr
from .tiles import TileState, Tiling, for_each_tile

if TYPE_CHECKING:
    from .gru import Layer

GATES = 3
R, Z, N = range(GATES)
PARTS = (2, 1)  # gates that a pass makes
Expr = Any


def pack(arrays: dict[str, np.ndarray], tile: Tiling) -> list[np.ndarray]:
    """Constants of `build` in its order. tile: of all three gates."""
    rows = arrays["w_hh"]
    weights = [_rz(tile).pack_weights(rows[: 2 * tile.rows]), _n(tile).pack_weights(rows[2 * tile.rows :])]
    multipliers = [tile.pack(arrays[n]) for n in ("mult_ih", "mult_hh")]
    return [*weights, *multipliers, tile.pack_table(arrays["tables"])]


def _rz(tile: Tiling) -> Tiling:
    return replace(tile, gates=2)


def _n(tile: Tiling) -> Tiling:
    return replace(tile, gates=1)


def scratch_shapes(layer: Layer, tile: Tiling) -> Shapes:
    """Scratch parameters in order: r * h, z without its zero point, and planes of h, later of r * h."""
    shapes: Shapes = {"rh": ((layer.batch, layer.hidden), "int8")}
    shapes["z"] = ((layer.batch, tile.count, tile.lanes), "int16")
    return shapes | Planes(tile.isa, layer.batch, layer.hidden).shapes()


def build(layer: Layer, tile: Tiling, source: Ahead) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in. source: of the products with x, in `PARTS`."""
    batch, hidden, size = layer.batch, layer.hidden, tile.width
    state_type = f"int{layer.state_bits}"
    scratch = scratch_shapes(layer, tile)
    macs = batch * hidden * GATES * (hidden + source.depth)
    with layer.open("gru_before_step", 2 + len(scratch) + source.outputs, macs) as k:
        source.open(k)
        named = {"h8": k.arg("h8", (batch, hidden), "int8")}
        named["h"] = k.arg("h", (batch, hidden), state_type)
        named["w_rz"] = k.arg("w_rz", _rz(tile).weight_shape(hidden), "int8")
        named["w_n"] = k.arg("w_n", _n(tile).weight_shape(hidden), "int8")
        named["mult_ih"] = k.arg("mult_ih", (tile.count, size), "int32")
        named["mult_hh"] = k.arg("mult_hh", (tile.count, size), "int32")
        named["tables"] = k.arg("tables", (GATES, *tile.table_shape(layer.pieces)), "int16")
        source.open_constants(k)
        named["y"] = k.arg("y", (batch, hidden), "int8")
        named["h_out"] = k.arg("h_out", (batch, hidden), state_type)
        named |= {name: k.arg(name, *shape) for name, shape in scratch.items()}
        source.open_scratch(k)
        step = _Step(layer, tile, named, source)
        source.prepare()
        step.planes.prepare(named["h8"])
        for_each_tile(tile, batch, step.reset_and_update)
        step.planes.prepare(named["rh"])
        for_each_tile(tile, batch, step.new)
    return k.result


class _Step:
    """Emits what one tile of units and some rows of the batch do in each pass."""

    def __init__(self, layer: Layer, tile: Tiling, named: dict[str, Any], source: Ahead) -> None:
        self.layer, self.tile, self.named, self.source = layer, tile, named, source
        self.lanes = Lanes(tile.lanes, tile.isa)
        self.planes = Planes(tile.isa, layer.batch, layer.hidden)
        self.planes.take(named)

    def _state(self, valid: Expr) -> TileState:
        return TileState(self.lanes, self.tile, valid, f"int{self.layer.state_bits}")

    def _constants(self, vj: Expr) -> list[Any]:
        named, size = self.named, self.tile.width
        tables = named["tables"]
        multipliers = [named[n][vj, 0:size] for n in ("mult_ih", "mult_hh")]
        return [*multipliers, tables[0:GATES, 0 : tables.ty.shape[1], 0 : tables.ty.shape[2]]]

    def _terms(self, sums: tuple[Any, Sums], part: int, gate: int, vj: Expr) -> list[tuple[Expr, Expr]]:
        """sums: the products with h, and those with x, of a pass."""
        lanes, named, count = self.lanes, self.named, self.tile.lanes
        sums_h, (sums_x, outer) = sums
        mult_x, mult_h = (lanes.load(named[n], vj, gate * count) for n in ("mult_ih", "mult_hh"))
        from_x = lanes.load(sums_x, *outer, (gate - self.source.first_gate(part)) * count)
        return [(from_x, mult_x), (lanes.load(sums_h, (gate - sum(PARTS[:part])) * count), mult_h)]

    def reset_and_update(self, name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
        """r * h and z."""
        layer, call, lanes, named, tile = self.layer, self.layer.call, self.lanes, self.named, _rz(self.tile)
        these = slice(rows[0], rows[0] + len(rows))
        units = tile.units(vj, valid)
        product, constants = Product(tile, layer.hidden, named["w_rz"]), self._constants(vj)
        T.reads(*self.planes.regions(named["h8"], these), *self.source.regions(these, vj, 0),
                named["h"][these, units], *product.regions(vj), *constants)  # fmt: skip
        T.writes(named["rh"][these, units], named["z"][these, vj, 0 : tile.lanes])
        sums = local_sums(tile, len(rows))
        act = lanes.local(1, "int32")
        scratch, state = (lanes.scratch(), lanes.sums()), self._state(valid)
        sums_x = self.source.sum(f"rz{name}", rows, vj, 0)
        sum_products(f"rz{name}", product, vj, self.planes.vectors(named["h8"], rows), sums)
        for number, (vb, (sums_h, _), of_x) in enumerate(zip(rows, sums, sums_x, strict=True)):
            with T.sblock(f"gates_rz{name}_{number}"):
                T.reads(sums_h[0 : tile.width], self._of_x(of_x), named["h"][vb, units], *constants)
                T.writes(named["rh"][vb, units], named["z"][vb, vj, 0 : tile.lanes])

                def gates(vb: Expr = vb, both: tuple[Any, Sums] = (sums_h, of_x)) -> None:
                    r = layer.activate(lanes, scratch, named["tables"], self._terms(both, 0, R, vj), R)
                    lanes.store(act, r, 0, 0)
                    h = fp.i32(state.load(named["h"], vb, vj)) - attr(call, "state_zp")
                    terms = [(lanes.load(act, 0, 0) * h, lanes.wide(T.int32(attr(call, "rh_mult"))))]
                    shift, zp = attr(call, "rh_shift"), attr(call, "rh_zp")
                    rh = lanes.rescale(scratch[1], terms, shift, zp, 8, layer.fits)
                    state.store(rh, named["rh"], vb, vj)
                    z = layer.activate(lanes, scratch, named["tables"], self._terms(both, 0, Z, vj), Z)
                    lanes.store(named["z"], fp.cast(16, z), vb, vj, 0)

                lanes.each(valid, gates)

    def _of_x(self, sums: Sums) -> Any:
        """All sums with x that `Ahead.sum` gave."""
        buffer, outer = sums
        return buffer[(*outer, slice(0, int(buffer.shape[-1])))]

    def new(self, name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
        """n, the new state and its int8 copy."""
        layer, lanes, named, tile = self.layer, self.lanes, self.named, _n(self.tile)
        these = slice(rows[0], rows[0] + len(rows))
        units = tile.units(vj, valid)
        product, constants = Product(tile, layer.hidden, named["w_n"]), self._constants(vj)
        T.reads(*self.planes.regions(named["rh"], these), *self.source.regions(these, vj, 1),
                named["h"][these, units], named["z"][these, vj, 0 : tile.lanes], *product.regions(vj),
                *constants)  # fmt: skip
        T.writes(named["y"][these, units], named["h_out"][these, units])
        sums = local_sums(tile, len(rows))
        act = lanes.local(2, "int32")
        scratch, state = (lanes.scratch(), lanes.sums()), self._state(valid)
        sums_x = self.source.sum(f"n{name}", rows, vj, 1)
        sum_products(f"n{name}", product, vj, self.planes.vectors(named["rh"], rows), sums)
        for number, (vb, (sums_h, _), of_x) in enumerate(zip(rows, sums, sums_x, strict=True)):
            with T.sblock(f"update{name}_{number}"):
                T.reads(sums_h[0 : tile.width], self._of_x(of_x), named["h"][vb, units],
                        named["z"][vb, vj, 0 : tile.lanes], *constants)  # fmt: skip
                T.writes(named["y"][vb, units], named["h_out"][vb, units])

                def update(vb: Expr = vb, both: tuple[Any, Sums] = (sums_h, of_x)) -> None:
                    n = layer.activate(lanes, scratch, named["tables"], self._terms(both, 1, N, vj), N)
                    lanes.store(act, n, 0, 0)
                    z = fp.i32(lanes.load(named["z"], vb, vj, 0))
                    h = fp.i32(state.load(named["h"], vb, vj)) - attr(layer.call, "state_zp")
                    new = layer.state(lanes, scratch, z, lanes.load(act, 0, 0), h)
                    lanes.store(act, fp.i32(new), 1, 0)
                    new = lanes.load(act, 1, 0)
                    state.store(fp.cast(layer.state_bits, new), named["h_out"], vb, vj)
                    state.store(layer.output(lanes, scratch, new), named["y"], vb, vj)

                lanes.each(valid, update)
