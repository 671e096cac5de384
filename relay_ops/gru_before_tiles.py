"""The kernel of one irnn.gru step with reset before the product, in tiles of units (formulas: gru.py's Layer).

Two passes over the units, on what input_products.py made of x: r and z, of which r * h is wanted of all units, then n.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from .lanes import Lanes
from .lstm_general_layout import Shapes
from .products import Product, local_sums, sum_products
from .registry import attr
from .tiles import TileState, Tiling, for_each_tile
from .vectors import Vectors

if TYPE_CHECKING:
    from .gru import Layer

GATES = 3
R, Z, N = range(GATES)
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
    """Scratch parameters in order: r * h, and z without its zero point."""
    z = ((layer.batch, tile.count, tile.lanes), "int16")
    return {"rh": ((layer.batch, layer.hidden), "int8"), "z": z}


def build(layer: Layer, tile: Tiling) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in."""
    batch, hidden, size = layer.batch, layer.hidden, tile.width
    state_type = f"int{layer.state_bits}"
    with layer.open("gru_before_step", 4, batch * hidden * GATES * hidden) as k:
        named = {"sums_x": k.arg("sums_x", (batch, *tile.sums_shape), "int32")}
        named["h8"] = k.arg("h8", (batch, hidden), "int8")
        named["h"] = k.arg("h", (batch, hidden), state_type)
        named["w_rz"] = k.arg("w_rz", _rz(tile).weight_shape(hidden), "int8")
        named["w_n"] = k.arg("w_n", _n(tile).weight_shape(hidden), "int8")
        named["mult_ih"] = k.arg("mult_ih", (tile.count, size), "int32")
        named["mult_hh"] = k.arg("mult_hh", (tile.count, size), "int32")
        named["tables"] = k.arg("tables", (GATES, *tile.table_shape(layer.pieces)), "int16")
        named["y"] = k.arg("y", (batch, hidden), "int8")
        named["h_out"] = k.arg("h_out", (batch, hidden), state_type)
        named |= {name: k.arg(name, *shape) for name, shape in scratch_shapes(layer, tile).items()}
        step = _Step(layer, tile, named)
        for_each_tile(tile, batch, step.reset_and_update)
        for_each_tile(tile, batch, step.new)
    return k.result


class _Step:
    """Emits what one tile of units and some rows of the batch do in each pass."""

    def __init__(self, layer: Layer, tile: Tiling, named: dict[str, Any]) -> None:
        self.layer, self.tile, self.named = layer, tile, named
        self.lanes = Lanes(tile.lanes, tile.isa)

    def _state(self, valid: int) -> TileState:
        return TileState(self.tile, valid, f"int{self.layer.state_bits}")

    def _constants(self, vj: Expr) -> list[Any]:
        named, size = self.named, self.tile.width
        tables = named["tables"]
        multipliers = [named[n][vj, 0:size] for n in ("mult_ih", "mult_hh")]
        return [*multipliers, tables[0:GATES, 0 : tables.ty.shape[1], 0 : tables.ty.shape[2]]]

    def _terms(self, sums_h: Any, first: int, gate: int, vb: Expr, vj: Expr) -> list[tuple[Expr, Expr]]:
        """first: the gate that sums_h begins with."""
        lanes, named, at = self.lanes, self.named, gate * self.tile.lanes
        from_x = lanes.load(named["sums_x"], vb, vj, at), lanes.load(named["mult_ih"], vj, at)
        from_h = lanes.load(sums_h, at - first * self.tile.lanes), lanes.load(named["mult_hh"], vj, at)
        return [from_x, from_h]

    def reset_and_update(self, name: str, rows: list[Expr], vj: Expr, valid: int) -> None:
        """r * h and z."""
        layer, call, lanes, named, tile = self.layer, self.layer.call, self.lanes, self.named, _rz(self.tile)
        these = slice(rows[0], rows[0] + len(rows))
        units = tile.units(vj, valid)
        product, constants = Product(tile, layer.hidden, named["w_rz"]), self._constants(vj)
        T.reads(named["h8"][these, 0 : layer.hidden], named["sums_x"][these, vj, 0 : self.tile.width],
                named["h"][these, units], *product.regions(vj), *constants)  # fmt: skip
        T.writes(named["rh"][these, units], named["z"][these, vj, 0 : tile.lanes])
        sums = local_sums(tile, len(rows))
        act = T.sblock_alloc_buffer((1, tile.lanes), "int32")
        scratch, state = (lanes.scratch(), lanes.sums()), self._state(valid)
        sum_products(f"rz{name}", product, vj, Vectors(named["h8"], [(vb,) for vb in rows]), sums)
        for number, (vb, (sums_h, _)) in enumerate(zip(rows, sums, strict=True)):
            with T.sblock(f"gates_rz{name}_{number}"):
                T.reads(sums_h[0 : tile.width], named["sums_x"][vb, vj, 0 : self.tile.width],
                        named["h"][vb, units], *constants)  # fmt: skip
                T.writes(named["rh"][vb, units], named["z"][vb, vj, 0 : tile.lanes])
                r = layer.activate(lanes, scratch, named["tables"], self._terms(sums_h, R, R, vb, vj), R)
                lanes.store(act, r, 0, 0)
                h = fp.i32(state.load(named["h"], vb, vj)) - attr(call, "state_zp")
                terms = [(lanes.load(act, 0, 0) * h, lanes.wide(T.int32(attr(call, "rh_mult"))))]
                shift, zp = attr(call, "rh_shift"), attr(call, "rh_zp")
                state.store(lanes.rescale(scratch[1], terms, shift, zp, 8, layer.fits), named["rh"], vb, vj)
                z = layer.activate(lanes, scratch, named["tables"], self._terms(sums_h, R, Z, vb, vj), Z)
                lanes.store(named["z"], fp.cast(16, z), vb, vj, 0)

    def new(self, name: str, rows: list[Expr], vj: Expr, valid: int) -> None:
        """n, the new state and its int8 copy."""
        layer, lanes, named, tile = self.layer, self.lanes, self.named, _n(self.tile)
        these = slice(rows[0], rows[0] + len(rows))
        units = tile.units(vj, valid)
        product, constants = Product(tile, layer.hidden, named["w_n"]), self._constants(vj)
        T.reads(named["rh"][these, 0 : layer.hidden], named["sums_x"][these, vj, 0 : self.tile.width],
                named["h"][these, units], named["z"][these, vj, 0 : tile.lanes], *product.regions(vj),
                *constants)  # fmt: skip
        T.writes(named["y"][these, units], named["h_out"][these, units])
        sums = local_sums(tile, len(rows))
        act = T.sblock_alloc_buffer((2, tile.lanes), "int32")
        scratch, state = (lanes.scratch(), lanes.sums()), self._state(valid)
        sum_products(f"n{name}", product, vj, Vectors(named["rh"], [(vb,) for vb in rows]), sums)
        for number, (vb, (sums_h, _)) in enumerate(zip(rows, sums, strict=True)):
            with T.sblock(f"update{name}_{number}"):
                T.reads(sums_h[0 : tile.width], named["sums_x"][vb, vj, 0 : self.tile.width],
                        named["h"][vb, units], named["z"][vb, vj, 0 : tile.lanes], *constants)  # fmt: skip
                T.writes(named["y"][vb, units], named["h_out"][vb, units])
                n = layer.activate(lanes, scratch, named["tables"], self._terms(sums_h, N, N, vb, vj), N)
                lanes.store(act, n, 0, 0)
                z = fp.i32(lanes.load(named["z"], vb, vj, 0))
                h = fp.i32(state.load(named["h"], vb, vj)) - attr(layer.call, "state_zp")
                new = layer.state(lanes, scratch, z, lanes.load(act, 0, 0), h)
                lanes.store(act, fp.i32(new), 1, 0)
                new = lanes.load(act, 1, 0)
                state.store(fp.cast(layer.state_bits, new), named["h_out"], vb, vj)
                state.store(layer.output(lanes, scratch, new), named["y"], vb, vj)
