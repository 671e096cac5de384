"""A matrix times activation vectors, rescaled, in tiles: what linear layers and convolutions are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import shared

from . import fixed_point as fp
from .kernel import Kernel
from .lanes import Lanes
from .planes import Planes
from .products import Product, local_sums, sum_products
from .tiles import TileState, Tiling, for_each_tile, products_bound, tiling
from .vectors import Vectors

Expr = Any


@dataclass(frozen=True)
class LinearTiles:
    """y = sat(rs((w x + bias) * mult, shift) + out_zp) with a tile of rows at a time.

    w int8 [rows, depth], bias and mult int32 [rows]; fits: see `fixed_point.within_int32`. planes: of a vector where a
    routine multiplies one after the other; None: all of them share a tile's weights, and however many there may be,
    they are taken as they are.
    """

    tile: Tiling
    w: np.ndarray
    bias: np.ndarray
    mult: np.ndarray
    shift: int
    out_zp: int
    bits: int
    fits: bool
    planes: Planes | None

    @property
    def depth(self) -> int:
        return int(self.w.shape[1])

    @property
    def constants(self) -> list[Any]:
        """Arguments of a call, in the order of `open`."""
        arrays = [
            self.tile.pack_weights(self.w),
            self.tile.pack_start(self.bias),
            self.tile.pack(self.mult),
        ]
        return [relax.const(a, str(a.dtype)) for a in arrays]

    @property
    def scratch(self) -> list[Any]:
        """Types of the scratch buffers of `open_scratch`."""
        return [] if self.planes is None else self.planes.types

    def open(self, k: Kernel) -> list[Any]:
        """Declares the constants: the weights, what sums start with, and the multipliers."""
        tile = self.tile
        return [
            k.arg("w", tile.weight_shape(self.depth), "int8"),
            k.arg("bias", tile.start_shape, "int32"),
            k.arg("mult", (tile.count, tile.lanes), "int32"),
        ]

    def open_scratch(self, k: Kernel) -> None:
        """Declares the scratch buffers."""
        if self.planes is not None:
            self.planes.open(k)

    def emit(self, constants: list[Any], x: Any, count: Expr, y: Any) -> None:
        """Blocks for the vectors int8 x [count or more, depth] -> y [count or more, rows]. constants: of `open`."""
        if self.planes is None:
            for_each_tile(self.tile, count, self._unit(constants, x, y))
            return
        planes = self.planes
        with T.serial(count) as i:
            with T.sblock("vector"):
                vi = T.axis.spatial(count, i)
                T.reads(x[vi, 0 : self.depth], *(c[tuple(slice(0, d) for d in c.shape)] for c in constants))
                T.writes(y[vi, 0 : self.tile.rows])
                planes.prepare_one(x, vi)
                unit = self._unit(constants, x, y)
                for_each_tile(self.tile, 1, lambda name, these, vj, valid: unit(name, [vi], vj, valid))

    def _unit(self, constants: list[Any], x: Any, y: Any) -> Callable[[str, list[Any], Any, Any], None]:
        tile, planes = self.tile, self.planes
        w, bias, mult = constants
        lanes = Lanes(tile.lanes, tile.isa)
        product = Product(tile, self.depth, w, bias)

        def unit(name: str, these: list[Any], vj: Any, valid: Any) -> None:
            columns = tile.units(vj, valid)
            regions = [x[these[0] : these[0] + len(these), 0 : self.depth]]
            vectors = Vectors(x, [(vi,) for vi in these])
            if planes is not None:
                regions, vectors = planes.regions(x, slice(0, 1)), planes.vectors(x, [T.int32(0)])
            T.reads(*regions, *product.regions(vj), mult[vj, 0 : tile.lanes])
            T.writes(y[these[0] : these[0] + len(these), columns])
            sums = local_sums(tile, len(these))
            sums_of = lanes.sums()
            state = TileState(lanes, tile, valid, f"int{self.bits}")
            sum_products(f"rows{name}", product, vj, vectors, sums)
            for number, (vi, (total, _)) in enumerate(zip(these, sums, strict=True)):
                with T.sblock(f"store{name}_{number}"):
                    T.reads(total[0 : tile.lanes], mult[vj, 0 : tile.lanes])
                    T.writes(y[vi, columns])

                    def finish(vi: Any = vi, total: Any = total) -> None:
                        terms = [(lanes.load(total, 0), lanes.load(mult, vj, 0))]
                        value = lanes.rescale(sums_of, terms, self.shift, self.out_zp, self.bits, self.fits)
                        state.store(value, y, vi, vj)

                    lanes.each(valid, finish)

        return unit


def linear_tiles(
    w: np.ndarray, bias: np.ndarray, mult: np.ndarray, count: Expr, shift: int, out_zp: int, bits: int
) -> LinearTiles | None:
    """For products with `count` vectors at a time; None where there is no instruction set for them, it cannot be exact,
    or something else reads these weights in the order of the program."""
    tile = None if shared(w) else tiling(1, w.shape[0], count, (w,), None, True)
    if tile is None:
        return None
    worst = int(products_bound(w, mult, bias).max())
    planes: Planes | None = Planes(tile.isa, 1, int(w.shape[1]))
    if planes is not None and not (planes.types and tile.isa.vectors == 1):
        planes = None
    return LinearTiles(
        tile, w, bias, mult, shift, out_zp, bits, fp.within_int32(worst, shift, out_zp), planes
    )
