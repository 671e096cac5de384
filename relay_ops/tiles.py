"""Tiles: `lanes` neighbouring rows of every gate at a time, for the instruction sets of schedules/.

Weights and what belongs to a row are packed at build time in the order in which a tile reads them; rows are padded with
zeros to whole tiles, or the last tile begins with rows of the one before, and depth is padded to whole groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import InstructionSet, current
from irnn_tvm.schedules.vector_set import VectorSet

from .lanes import Lanes, short_pieces
from .piece_tables import pack_table, table_shape

Expr = Any
BLOCK_PREFIX, LOOP_PREFIX = "tile", "tile_loop"
UNROLL_ATTR = "irnn.unroll"


@dataclass(frozen=True)
class Tiling:
    """How `rows` rows of each of `gates` gates are cut.

    overlap: the last tile is no shorter than others, and computes some rows of the one before again. That takes the
    same time as padding and needs no code for a shorter tile, but sums over tiles would count these rows twice.
    """

    isa: InstructionSet
    gates: int
    rows: int
    lanes: int
    overlap: bool = False

    def for_vectors(self, count: Expr) -> Tiling:
        """The same tiles for products with `count` activation vectors at a time."""
        isa = current()
        assert isa is not None
        return replace(self, isa=isa.for_vectors(count))

    @property
    def full(self) -> int:
        """Tiles without padding."""
        return self.count if self.overlap else self.rows // self.lanes

    @property
    def rest(self) -> int:
        """Rows of the last tile when it is padded, else 0."""
        return 0 if self.overlap else self.rows % self.lanes

    @property
    def count(self) -> int:
        return -(-self.rows // self.lanes)

    def first(self, number: Expr) -> Expr:
        """The first row of tile `number`."""
        regular = number * self.lanes
        if self.overlap and self.rows % self.lanes:
            return T.min(regular, self.rows - self.lanes)
        return regular

    def units(self, number: Expr, valid: Expr) -> slice:
        """The first `valid` rows of tile `number`."""
        return slice(self.first(number), self.first(number) + valid)

    def _cut(self, rows: np.ndarray) -> np.ndarray:
        """[gates, rows, ...] -> [gates, tiles, lanes, ...]."""
        starts = np.arange(self.count) * self.lanes
        if self.overlap:
            starts = np.minimum(starts, self.rows - self.lanes)
        places = starts[:, None] + np.arange(self.lanes)
        padding = np.zeros((self.gates, 1, *rows.shape[2:]), rows.dtype)
        return np.concatenate([rows, padding], axis=1)[:, np.minimum(places, self.rows)]

    @property
    def width(self) -> int:
        """Lanes of all gates."""
        return self.gates * self.lanes

    @property
    def block(self) -> int:
        """Gates whose products are summed at a time."""
        wanted = max(1, self.isa.block // self.lanes)
        return next(gates for gates in range(min(wanted, self.gates), 0, -1) if self.gates % gates == 0)

    @property
    def blocks(self) -> int:
        """Blocks of a tile."""
        return self.gates // self.block

    @property
    def corrected(self) -> int:
        """1 where a block begins with int32 sums that make up for the offset of activations, else 0."""
        return int(self.isa.offset != 0)

    def weight_shape(self, depth: int) -> tuple[int, int, int]:
        """Shape of packed weights: blocks of all tiles, (corrections and) groups, what a group multiplies with."""
        group = self.isa.group
        return (
            self.count * self.blocks,
            self.corrected + self.isa.groups(depth),
            self.block * self.lanes * group,
        )

    def pack_weights(self, rows: np.ndarray) -> np.ndarray:
        """int8 [gates * rows, depth] -> weight_shape(depth)."""
        depth, shape, group = rows.shape[1], self.weight_shape(rows.shape[1]), self.isa.group
        groups = shape[1] - self.corrected
        padded = np.zeros((self.gates, self.rows, groups * group), np.int8)
        padded[:, :, :depth] = rows.reshape(self.gates, self.rows, depth)
        shaped = self._cut(padded).reshape(self.blocks, self.block, self.count, self.lanes, groups, group)
        rows = shaped.transpose(2, 0, 4, 1, 3, 5).reshape(shape[0], groups, -1, group)
        packed = self.isa.pack_block(rows)
        if self.corrected:
            sums = shaped.astype(np.int32).sum(axis=(4, 5), dtype=np.int32).transpose(2, 0, 1, 3)
            corrections = np.ascontiguousarray(sums.reshape(shape[0], 1, -1) * np.int32(-self.isa.offset))
            packed = np.concatenate([corrections.view(np.int8), packed], axis=1)
        return np.ascontiguousarray(packed)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """[gates * rows] -> [tiles, gates * lanes]."""
        shaped = self._cut(values.reshape(self.gates, self.rows))
        return np.ascontiguousarray(shaped.transpose(1, 0, 2)).reshape(self.count, self.width)

    def pack_start(self, bias: np.ndarray) -> np.ndarray:
        """[gates * rows] -> start_shape: what the sums start with."""
        return self.isa.pack_start(self.pack(bias))

    @property
    def start_shape(self) -> tuple[int, int]:
        """Shape of what `pack_start` returns."""
        return self.count, self.isa.pack_start(np.zeros(self.width, np.int32)).size

    @property
    def accumulators(self) -> int:
        """int32 accumulators of a tile."""
        return self.width * self.isa.spread

    @property
    def sums_shape(self) -> tuple[int, int]:
        """Shape of a row of sums of all tiles, spread over the first cache, so that rows do not evict each other."""
        return self.isa.spread_rows(self.count, 4 * self.width), self.width

    def region(self, weights: Any, number: Expr) -> Any:
        """What tile `number` reads of packed weights."""
        first = number * self.blocks
        return weights[(slice(first, first + self.blocks), *(slice(0, d) for d in weights.shape[1:]))]

    def pack_table(self, tables: np.ndarray) -> np.ndarray:
        """int16 [..., 3, P] -> [..., *table_shape]."""
        return pack_table(self.isa, tables) if isinstance(self.isa, VectorSet) else tables

    def table_shape(self, pieces: int) -> tuple[int, int]:
        """Shape of a packed table."""
        return table_shape(self.isa, pieces) if isinstance(self.isa, VectorSet) else (3, pieces)

    @property
    def in_vectors(self) -> bool:
        """Whether the rows of a tile are worked on together, not only its products."""
        return isinstance(self.isa, VectorSet)


def tiling(
    gates: int,
    rows: int,
    vectors: Expr,
    weights: Sequence[np.ndarray],
    tables: np.ndarray | None = None,
    overlap: bool = False,
) -> Tiling | None:
    """Tiles for products with `vectors` activation vectors at a time with the instruction set that lowering is for, or
    None where there is none or it cannot be exact. overlap: whether tiles may (see `Tiling`)."""
    isa = current()
    if isa is None or any(int(w.min(initial=0)) < isa.lowest_weight for w in weights):
        return None
    vectors_of_rows = isinstance(isa, VectorSet)
    if (
        vectors_of_rows
        and tables is not None
        and not (tables.shape[-1] <= isa.most_pieces and short_pieces(tables))
    ):
        return None
    lanes = isa.lanes(rows, gates)
    return Tiling(isa, gates, rows, lanes, overlap and vectors_of_rows and rows >= lanes).for_vectors(vectors)


def products_bound(w: np.ndarray, mult: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """For each row the largest |(w x + bias) * mult| that int8 activations can give, int64."""
    sums = np.abs(w.astype(np.int64)).sum(axis=1) * 128
    if bias is not None:
        sums += np.abs(bias.astype(np.int64))
    return sums * np.abs(mult.astype(np.int64))


def magnitude(values: np.ndarray) -> int:
    """The largest |value|."""
    return int(np.abs(values.astype(np.int64)).max())


def for_each_tile(
    tile: Tiling,
    count: Expr,
    unit: Callable[[str, list[Expr], Expr, Expr], None],
    at_a_time: int | None = None,
    turn: Expr | None = None,
) -> None:
    """Blocks over all tiles and `count` vectors, several vectors at a time, so that they share a tile's weights.

    unit: a suffix for names, the vectors, the tile, and how many of its rows are no padding; it states its regions.
    at_a_time: most vectors of a unit; None: as many as the instruction set likes. turn: see `Kernel.turn`.
    """

    def place(vj: Expr) -> Expr:
        if turn is None:
            return vj
        return vj + T.Cast(str(vj.ty.dtype), turn) * (tile.full - 1 - 2 * vj) if tile.in_vectors else vj

    sizes = (at_a_time or tile.isa.vectors, tile.isa.joined, 1)
    # Where a loop goes over the rows of a tile, it ends earlier in the last one; vectors need code of their own for it.
    one_form = not tile.in_vectors and tile.rest > 0
    whole = tile.count if one_form else tile.full
    if whole:
        with T.serial(whole) as j:

            def emit(name: str, rows: list[Expr], vj: Expr) -> None:
                number = place(vj)
                valid = T.min(tile.lanes, tile.rows - number * tile.lanes) if one_form else tile.lanes
                unit(name, rows, number, valid)

            in_vectors(count, sizes, whole, j, emit)
    if tile.rest and not one_form:
        last = T.int32(tile.full)
        in_vectors(count, sizes, 0, last, lambda name, rows, vj: unit(f"{name}_last", rows, vj, tile.rest))


def in_vectors(
    count: Expr,
    sizes: Sequence[int],
    extent: int,
    j: Expr,
    emit: Callable[[str, list[Expr], Expr], None],
) -> None:
    """`emit` for as many vectors together as the first of the sizes says, then for the rest by the others.

    extent: of j, 0 where it is a constant.
    """
    known = isinstance(count, int | tirx.IntImm)
    if known:
        sizes = [min(size, int(count)) for size in sizes]

    def loop(name: str, units: Expr, size: int, begin: Expr) -> None:
        with T.serial(units) as i:
            with T.sblock(f"unit{name}" if extent else f"unit{name}_last"):
                vi = T.axis.spatial(units, i)
                vj = T.axis.spatial(extent, j) if extent else j
                emit(name, [vi * size + begin + n for n in range(size)], vj)

    left, begin = count, 0
    for size in dict.fromkeys(sizes):
        units = left // size if size > 1 else left
        if not (known and int(units) == 0):
            loop(f"_{size}" if size > 1 else "", units, size, begin)
        left = left % size
        begin = count - left


class TileState:
    """Loads and stores the rows of a tile in buffers [batch, rows], without padding: those of the last tile singly."""

    def __init__(self, lanes: Lanes, tile: Tiling, valid: Expr, *dtypes: str) -> None:
        """dtypes: of what is loaded and stored, int8 apart."""
        self.tile, self.valid, self.lanes = tile, valid, lanes
        self.local: dict[str, Any] = {}
        if tile.in_vectors and valid != tile.lanes:
            self.local = {
                d: T.sblock_alloc_buffer((tile.lanes,), d) for d in dict.fromkeys(("int8", *dtypes))
            }

    def load(self, buffer: Any, row: Expr, number: Expr) -> Expr:
        """The rows of tile `number`; what is padding is undefined."""
        first = self.tile.first(number)
        if not self.local:
            return self.lanes.load(buffer, row, first)
        local = self.local[str(buffer.dtype)]
        with T.serial(self.valid) as i:
            T.buffer_store(local, buffer[row, first + i], [i])
        return self.lanes.load(local, 0)

    def store(self, value: Expr, buffer: Any, row: Expr, number: Expr) -> None:
        """The rows of tile `number` but those that are padding."""
        first = self.tile.first(number)
        if not self.local:
            self.lanes.store(buffer, value, row, first)
            return
        local = self.local[str(buffer.dtype)]
        self.lanes.store(local, value, 0)
        with T.serial(self.valid) as i:
            T.buffer_store(buffer, local[i], [row, first + i])
