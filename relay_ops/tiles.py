"""Tiles: `lanes` neighbouring rows of every gate at a time, for the instruction sets of schedules/.

Weights and what belongs to a row are packed at build time in the order in which a tile reads them; rows are padded with
zeros to whole tiles, and depth to whole groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import InstructionSet, current

from .lanes import Lanes, short_pieces

Expr = Any
BLOCK_PREFIX, LOOP_PREFIX = "tile", "tile_loop"


@dataclass(frozen=True)
class Tiling:
    """How `rows` rows of each of `gates` gates are cut."""

    isa: InstructionSet
    gates: int
    rows: int
    lanes: int

    @property
    def full(self) -> int:
        """Tiles without padding."""
        return self.rows // self.lanes

    @property
    def rest(self) -> int:
        """Rows of the last tile when it is padded, else 0."""
        return self.rows % self.lanes

    @property
    def count(self) -> int:
        return -(-self.rows // self.lanes)

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

    def weight_shape(self, depth: int) -> tuple[int, int, int]:
        """Shape of packed weights: blocks of all tiles, groups, what a group multiplies with."""
        group = self.isa.group
        return self.count * self.blocks, -(-depth // group), self.block * self.lanes * group

    def pack_weights(self, rows: np.ndarray) -> np.ndarray:
        """int8 [gates * rows, depth] -> weight_shape(depth)."""
        depth, shape, group = rows.shape[1], self.weight_shape(rows.shape[1]), self.isa.group
        padded = np.zeros((self.gates, self.count * self.lanes, shape[1] * group), np.int8)
        padded[:, : self.rows, :depth] = rows.reshape(self.gates, self.rows, depth)
        shaped = padded.reshape(self.blocks, self.block, self.count, self.lanes, shape[1], group)
        return np.ascontiguousarray(shaped.transpose(2, 0, 4, 1, 3, 5)).reshape(shape)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """[gates * rows] -> [tiles, gates * lanes]."""
        padded = np.zeros((self.gates, self.count * self.lanes), values.dtype)
        padded[:, : self.rows] = values.reshape(self.gates, self.rows)
        shaped = padded.reshape(self.gates, self.count, self.lanes)
        return np.ascontiguousarray(shaped.transpose(1, 0, 2)).reshape(self.count, self.width)

    def pack_start(self, bias: np.ndarray) -> np.ndarray:
        """[gates * rows] -> [tiles, accumulators]: what the sums start with."""
        packed = self.pack(bias)
        spread = np.zeros((*packed.shape, self.isa.spread), bias.dtype)
        spread[..., 0] = packed
        return spread.reshape(self.count, self.accumulators)

    @property
    def accumulators(self) -> int:
        """int32 accumulators of a tile."""
        return self.width * self.isa.spread

    def region(self, weights: Any, number: Expr) -> Any:
        """What tile `number` reads of packed weights."""
        first = number * self.blocks
        return weights[(slice(first, first + self.blocks), *(slice(0, d) for d in weights.shape[1:]))]

    def pack_table(self, tables: np.ndarray) -> np.ndarray:
        """int16 [..., P] -> [..., table row]: the last piece repeated, which changes no result."""
        wanted = self.isa.table_row(tables.shape[-1])
        padding = [(0, 0)] * (tables.ndim - 1) + [(0, wanted - tables.shape[-1])]
        return np.pad(tables, padding, mode="edge")


def tiling(
    gates: int, rows: int, weights: Sequence[np.ndarray], tables: np.ndarray | None = None
) -> Tiling | None:
    """Tiles for the instruction set that lowering is for, or None where there is none or it cannot be exact."""
    isa = current()
    if isa is None or any(int(w.min(initial=0)) < isa.lowest_weight for w in weights):
        return None
    if tables is not None and (tables.shape[-1] > isa.most_pieces or not short_pieces(tables)):
        return None
    return Tiling(isa, gates, rows, isa.lanes(rows, gates))


def products_bound(w: np.ndarray, mult: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """For each row the largest |(w x + bias) * mult| that int8 activations can give, int64."""
    sums = np.abs(w.astype(np.int64)).sum(axis=1) * 128
    if bias is not None:
        sums += np.abs(bias.astype(np.int64))
    return sums * np.abs(mult.astype(np.int64))


def dot_tile(
    name: str,
    tile: Tiling,
    acc: Any,
    x: tuple[Any, tuple[Expr, ...]],
    weights: tuple[Any, Expr],
    depth: int,
    start: tuple[Any, Expr] | None,
) -> None:
    """acc = start + weights * x for the rows of a tile, inside the current block; without start sums begin at 0.

    acc: int32 local [accumulators]. x: int8 [..., depth] and the outer indices of a vector; weights: a buffer of
    weight_shape and the tile; start: what pack_start made and the tile. Loops' blocks are called tile_loop_<name>_<n>.
    """
    words = tile.isa.words
    size = tile.accumulators // tile.blocks
    for block in range(tile.blocks):
        first, end = block * size, (block + 1) * size
        with T.sblock(f"{BLOCK_PREFIX}_start_{name}_{block}"):
            T.reads(*([] if start is None else [start[0][start[1], first:end]]))
            T.writes(acc[first:end])
            for at in range(first, end, words):
                place = T.Ramp(at, 1, words)
                value = T.Broadcast(T.int32(0), words) if start is None else start[0][start[1], place]
                T.buffer_store(acc, value, [place])
        number = weights[1] * tile.blocks + block
        _dot_block(f"{name}_{block}", tile.isa, (acc, first, size), x, (weights[0], number), depth)


def _dot_block(
    name: str,
    isa: InstructionSet,
    sums: tuple[Any, int, int],
    x: tuple[Any, tuple[Expr, ...]],
    weights: tuple[Any, Expr],
    depth: int,
) -> None:
    """Adds the products of one block. sums: buffer, first accumulator, accumulators; weights: buffer and block."""
    acc, at, count = sums
    vector, outer = x
    w, number = weights
    groups, partial = divmod(depth, isa.group)

    def multiply(group: Expr, many: int, activations: Sequence[Expr]) -> None:
        for register in range(count // isa.words):
            place = T.Ramp(register * isa.register_bytes, 1, isa.register_bytes)
            loaded = [w[number, group + i, place] for i in range(many)]
            isa.dot(acc, at + register * isa.words, loaded, activations)

    def regions(first: Expr, many: Expr, elements: Expr) -> None:
        begin = first * isa.group
        T.reads(acc[at : at + count], vector[(*outer, slice(begin, begin + elements))],
                w[number, first : first + many, 0 : w.shape[2]])  # fmt: skip
        T.writes(acc[at : at + count])

    loops, single = divmod(groups, isa.steps)
    if loops:
        with T.serial(loops) as i:
            with T.sblock(f"{LOOP_PREFIX}_{name}"):
                first = T.axis.reduce(loops, i) * isa.steps
                regions(first, isa.steps, isa.steps * isa.group)
                operands = isa.load_activations(vector, (*outer, first * isa.group), isa.steps)
                multiply(first, isa.steps, operands)
    if single or partial:
        first = loops * isa.steps
        if partial:
            tail = T.sblock_alloc_buffer((isa.group,), "int8")
        with T.sblock(f"{BLOCK_PREFIX}_rest_{name}"):
            regions(first, single + (1 if partial else 0), depth - first * isa.group)
            for group in range(first, groups):
                multiply(group, 1, isa.load_activations(vector, (*outer, group * isa.group), 1))
            if partial:
                T.buffer_store(tail, T.Broadcast(T.int8(0), isa.group), [T.Ramp(0, 1, isa.group)])
                for i in range(partial):
                    T.buffer_store(tail, vector[(*outer, groups * isa.group + i)], [i])
                multiply(groups, 1, isa.load_activations(tail, (0,), 1))


def gather(tile: Tiling, acc: Any, out: Any, row: int) -> None:
    """Adds up what `dot_tile` left in acc: int32 sums in rows row, row + 1 ... of `out` [rows, lanes], one per gate."""
    words = tile.isa.words
    for gate in range(tile.gates):
        for lane in range(0, tile.lanes, words):
            value = tile.isa.gather(acc, (gate * tile.lanes + lane) * tile.isa.spread)
            T.buffer_store(out, value, [row + gate, T.Ramp(lane, 1, words)])


def for_each_tile(tile: Tiling, batch: Expr, unit: Callable[[Expr, Expr, int], None]) -> None:
    """Blocks `unit` and `unit_last`, over the batch and all tiles; unit: batch row, tile, rows that are no padding."""
    if tile.full:
        with T.grid(batch, tile.full) as (b, j):
            with T.sblock("unit"):
                unit(T.axis.spatial(batch, b), T.axis.spatial(tile.full, j), tile.lanes)
    if tile.rest:
        with T.serial(batch) as b:
            with T.sblock("unit_last"):
                unit(T.axis.spatial(batch, b), T.int32(tile.full), tile.rest)


class TileState:
    """Loads and stores the rows of a tile in buffers [batch, rows], without padding: those of the last tile singly."""

    def __init__(self, tile: Tiling, valid: int, *dtypes: str) -> None:
        """dtypes: of what is loaded and stored, int8 apart."""
        self.tile, self.valid = tile, valid
        self.lanes = Lanes(tile.lanes, tile.isa)
        self.local: dict[str, Any] = {}
        if valid != tile.lanes:
            self.local = {
                d: T.sblock_alloc_buffer((tile.lanes,), d) for d in dict.fromkeys(("int8", *dtypes))
            }

    def load(self, buffer: Any, row: Expr, number: Expr) -> Expr:
        """The rows of tile `number`; what is padding is undefined."""
        first = number * self.tile.lanes
        if not self.local:
            return self.lanes.load(buffer, row, first)
        local = self.local[str(buffer.dtype)]
        with T.serial(self.valid) as i:
            T.buffer_store(local, buffer[row, first + i], [i])
        return self.lanes.load(local, 0)

    def store(self, value: Expr, buffer: Any, row: Expr, number: Expr) -> None:
        """The rows of tile `number` but those that are padding."""
        first = number * self.tile.lanes
        if not self.local:
            self.lanes.store(buffer, value, row, first)
            return
        local = self.local[str(buffer.dtype)]
        self.lanes.store(local, value, 0)
        with T.serial(self.valid) as i:
            T.buffer_store(buffer, local[i], [row, first + i])
