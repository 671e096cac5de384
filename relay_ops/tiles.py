"""Tiles: `lanes` neighbouring rows of every gate at a time, for the instruction sets of schedules/.

Weights and what belongs to a row are packed at build time in the order in which a tile reads them; rows are padded with
zeros to whole tiles, and depth to whole groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import InstructionSet, current

from .lanes import Lanes, short_pieces
from .vectors import Vectors

Expr = Any
BLOCK_PREFIX, LOOP_PREFIX = "tile", "tile_loop"
UNROLL_ATTR = "irnn.unroll"


@dataclass(frozen=True)
class Tiling:
    """How `rows` rows of each of `gates` gates are cut."""

    isa: InstructionSet
    gates: int
    rows: int
    lanes: int

    def for_vectors(self, count: Expr) -> Tiling:
        """The same tiles for products with `count` activation vectors at a time."""
        isa = current()
        assert isa is not None
        return replace(self, isa=isa.for_vectors(count))

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

    @property
    def corrected(self) -> int:
        """1 where a block begins with int32 sums that make up for the offset of activations, else 0."""
        return int(self.isa.offset != 0)

    def weight_shape(self, depth: int) -> tuple[int, int, int]:
        """Shape of packed weights: blocks of all tiles, (corrections and) groups, what a group multiplies with."""
        group = self.isa.group
        return (
            self.count * self.blocks,
            self.corrected + -(-depth // group),
            self.block * self.lanes * group,
        )

    def pack_weights(self, rows: np.ndarray) -> np.ndarray:
        """int8 [gates * rows, depth] -> weight_shape(depth)."""
        depth, shape, group = rows.shape[1], self.weight_shape(rows.shape[1]), self.isa.group
        groups = shape[1] - self.corrected
        padded = np.zeros((self.gates, self.count * self.lanes, groups * group), np.int8)
        padded[:, : self.rows, :depth] = rows.reshape(self.gates, self.rows, depth)
        shaped = padded.reshape(self.blocks, self.block, self.count, self.lanes, groups, group)
        packed = shaped.transpose(2, 0, 4, 1, 3, 5).reshape(shape[0], groups, shape[2])
        if self.corrected:
            sums = shaped.astype(np.int32).sum(axis=(4, 5), dtype=np.int32).transpose(2, 0, 1, 3)
            corrections = np.ascontiguousarray(sums.reshape(shape[0], 1, -1) * np.int32(-self.isa.offset))
            packed = np.concatenate([corrections.view(np.int8), packed], axis=1)
        return np.ascontiguousarray(packed)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """[gates * rows] -> [tiles, gates * lanes]."""
        padded = np.zeros((self.gates, self.count * self.lanes), values.dtype)
        padded[:, : self.rows] = values.reshape(self.gates, self.rows)
        shaped = padded.reshape(self.gates, self.count, self.lanes)
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
    gates: int, rows: int, vectors: Expr, weights: Sequence[np.ndarray], tables: np.ndarray | None = None
) -> Tiling | None:
    """Tiles for products with `vectors` activation vectors at a time with the instruction set that lowering is for, or
    None where there is none or it cannot be exact."""
    isa = current()
    if isa is None or any(int(w.min(initial=0)) < isa.lowest_weight for w in weights):
        return None
    if tables is not None and (tables.shape[-1] > isa.most_pieces or not short_pieces(tables)):
        return None
    return Tiling(isa, gates, rows, isa.lanes(rows, gates)).for_vectors(vectors)


def products_bound(w: np.ndarray, mult: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """For each row the largest |(w x + bias) * mult| that int8 activations can give, int64."""
    sums = np.abs(w.astype(np.int64)).sum(axis=1) * 128
    if bias is not None:
        sums += np.abs(bias.astype(np.int64))
    return sums * np.abs(mult.astype(np.int64))


def magnitude(values: np.ndarray) -> int:
    """The largest |value|."""
    return int(np.abs(values.astype(np.int64)).max())


@dataclass(frozen=True)
class Product:
    """Weights times activation vectors: depth, packed weights, and what sums start with (None: with 0)."""

    tile: Tiling
    depth: int
    weights: Any
    start: Any | None = None

    def regions(self, number: Expr) -> list[Any]:
        """What tile `number` reads of the constants."""
        found = [self.tile.region(self.weights, number)]
        return found if self.start is None else [*found, self.start[number, 0 : self.tile.start_shape[1]]]


def sum_products(
    name: str,
    product: Product,
    number: Expr,
    vectors: Vectors,
    out: Sequence[tuple[Any, tuple[Expr, ...]]],
) -> None:
    """Products of the rows of tile `number` with some vectors, inside the current block.

    out: for each of the vectors an int32 buffer [..., gates * lanes] and the
    outer indices there. Blocks of the loops are called tile_loop_<name>_<n>.
    """
    tile, isa = product.tile, product.tile.isa
    many, words, spread = len(vectors), isa.words, isa.spread
    joined = -(-many // isa.joined)
    registers = tile.accumulators // tile.blocks // words
    most = min(isa.registers(many), registers)
    part = next(n for n in range(most, 0, -1) if registers % n == 0 and n % spread == 0)
    negatives: list[Any] = []
    if isa.negatives:
        for vector, outer in enumerate(vectors.outer):
            negatives.append(_sum_negatives(f"{name}_{vector}", product, (vectors.buffer, outer)))
    for step in range(tile.blocks * registers // part):
        block, offset = divmod(step * part, registers)
        label = f"{name}_{step}"
        sums = _Sums(T.sblock_alloc_buffer((joined, part * words), "int32"), part, offset)
        at = block * registers * words + offset * words
        with T.sblock(f"{BLOCK_PREFIX}_start_{label}"):
            start, corrections = product.start, (number * tile.blocks + block, 0)
            first = offset * isa.register_bytes
            regions = [] if start is None else [start[number, 0 : tile.start_shape[1]]]
            if tile.corrected:
                regions.append(
                    product.weights[(*corrections, slice(first, first + part * isa.register_bytes))]
                )
            T.reads(*regions, *(total[0] for total in negatives))
            T.writes(sums.acc[0:joined, 0 : part * words])
            for lane in range(0, part * words, words):
                value = T.Broadcast(T.int32(0), words)
                if tile.corrected:
                    these = T.Ramp(first + 4 * lane, 1, isa.register_bytes)
                    value = T.reinterpret(f"int32x{words}", product.weights[(*corrections, these)])
                if start is not None:
                    value = isa.load_start(start, number, at + lane) + value
                for row in range(joined):
                    begin = value + T.Broadcast(negatives[row][0], words) if negatives else value
                    T.buffer_store(sums.acc, begin, [row, T.Ramp(lane, 1, words)])
        _sum_part(label, product, number * tile.blocks + block, vectors, sums)
        with T.sblock(f"{BLOCK_PREFIX}_sum_{label}"):
            T.reads(sums.acc[0:joined, 0 : part * words])
            places = [(lane, (at + lane) // spread) for lane in range(0, part * words, words * spread)]
            T.writes(
                *(
                    buffer[(*outer, slice(place, place + words))]
                    for buffer, outer in out
                    for _, place in places
                )
            )
            # Of joined vectors the last one first: what the first takes may then overwrite the accumulators.
            for vector in sorted(range(many), key=lambda n: (n // isa.joined, -n)):
                buffer, outer = out[vector]
                for lane, place in places:
                    value = isa.gather(sums.acc, vector, lane)
                    T.buffer_store(buffer, value, [*outer, T.Ramp(place, 1, words)])


def _sum_negatives(name: str, product: Product, vector: tuple[Any, tuple[Expr, ...]]) -> Any:
    """A local int32 buffer with what the sums of one vector start with (`InstructionSet.sum_negatives`)."""
    x, outer = vector
    total = T.sblock_alloc_buffer((1,), "int32")
    scratch = T.sblock_alloc_buffer((4,), "int64")
    with T.sblock(f"{BLOCK_PREFIX}_negatives_{name}"):
        T.reads(x[(*outer, slice(0, product.depth))])
        T.writes(total[0])
        value = product.tile.isa.sum_negatives(x, (*outer, 0), product.depth, scratch)
        T.buffer_store(total, value, [0])
    return total


@dataclass(frozen=True)
class _Sums:
    """int32 [vectors / joined, accumulators] for `registers` registers of a block's weights, from register `offset`
    on."""

    acc: Any
    registers: int
    offset: int


def _sum_part(name: str, product: Product, number: Expr, vectors: Vectors, sums: _Sums) -> None:
    """Adds the products of one block of weights to its accumulators."""
    isa, w, before = product.tile.isa, product.weights, product.tile.corrected
    groups, partial = vectors.groups(isa, product.depth)
    size = sums.registers * isa.register_bytes
    begin = sums.offset * isa.register_bytes

    def multiply(group: Expr, many: int, operands: Sequence[Sequence[Expr]]) -> None:
        for register in range(sums.registers):
            place = T.Ramp(begin + register * isa.register_bytes, 1, isa.register_bytes)
            loaded = [w[number, before + group + i, place] for i in range(many)]
            for row, activations in enumerate(operands):
                isa.dot(sums.acc, (row, register * isa.words), loaded, activations)

    def regions(group: Expr, many: Expr, elements: Expr) -> None:
        everything = sums.acc[0 : sums.acc.shape[0], 0 : sums.registers * isa.words]
        activations = vectors.region(isa, group, elements)
        taken = w[number, before + group : before + group + many, begin : begin + size]
        T.reads(everything, *activations, taken)
        T.writes(everything)

    loops, single = divmod(groups, isa.steps)
    if loops:
        with T.serial(loops) as i:
            with T.sblock(f"{LOOP_PREFIX}_{name}"):
                first = T.axis.reduce(loops, i) * isa.steps
                T.sblock_attr({UNROLL_ATTR: isa.unroll})
                regions(first, isa.steps, isa.steps * isa.group)
                multiply(first, isa.steps, vectors.load(isa, first, isa.steps))
    if single or partial:
        first = loops * isa.steps
        with T.sblock(f"{BLOCK_PREFIX}_rest_{name}"):
            regions(first, single + (1 if partial else 0), single * isa.group + partial)
            for group in range(first, groups):
                multiply(group, 1, vectors.load(isa, group, 1))
            if partial:
                multiply(groups, 1, vectors.load_rest(isa, groups, partial))


def for_each_tile(
    tile: Tiling,
    count: Expr,
    unit: Callable[[str, list[Expr], Expr, int], None],
    at_a_time: int | None = None,
) -> None:
    """Blocks over all tiles and `count` vectors, several vectors at a time, so that they share a tile's weights.

    unit: a suffix for names, the vectors, the tile, and how many of its rows are no padding; it states its regions.
    at_a_time: most vectors of a unit; None: as many as the instruction set likes.
    """
    sizes = (at_a_time or tile.isa.vectors, tile.isa.joined, 1)
    if tile.full:
        with T.serial(tile.full) as j:
            _in_vectors(count, sizes, tile.full, j, lambda name, rows, vj: unit(name, rows, vj, tile.lanes))
    if tile.rest:
        last = T.int32(tile.full)
        _in_vectors(count, sizes, 0, last, lambda name, rows, vj: unit(f"{name}_last", rows, vj, tile.rest))


def _in_vectors(
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


def local_sums(tile: Tiling, many: int) -> list[tuple[Any, tuple[Expr, ...]]]:
    """Local buffers for the sums of `many` vectors, as `sum_products` takes them: one for each, since TVM keeps no
    larger ones on the stack."""
    return [(T.sblock_alloc_buffer((tile.width,), "int32"), ()) for _ in range(many)]


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
