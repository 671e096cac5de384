"""One row of softmax as TIR: the integers of irnn_tvm/ops/softmax.py, over scores that lie in an int32 scratch row.

The valid keys of a row are a prefix of it (lengths, causality), so every loop ends at their number. Where there are
vectors, exponentials and weights are made a register at a time, and those of the last few keys one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from irnn_tvm.ops.softmax import FARTHEST

from . import fixed_point as fp
from .lanes import Lanes
from .normalize import CELLS, ROOT, SHIFT, reciprocal
from .piece_tables import pack_table, table_shape
from .registry import attr
from .table_lanes import table_lanes

Expr = Any

COUNT, TOP = 0, 1


@dataclass(frozen=True)
class Exponential:
    """The table of exp and the rescale to its grid: attributes of the ops that use a softmax.

    table: int16 [3, P], or where there are lanes [*table_shape]; lanes: None where elements are taken one by one.
    """

    table: Any
    pieces: int
    table_shift: int
    mult: int
    shift: int
    lanes: Lanes | None = None

    @classmethod
    def of(cls, call: Any, table: Any, pieces: int, lanes: Lanes | None) -> Exponential:
        """Of a call of an operator that has a softmax."""
        table_shift, mult, shift = (attr(call, name) for name in ("table_shift", "mult", "shift"))
        return cls(table, pieces, table_shift, mult, shift, lanes)

    @property
    def farthest(self) -> int:
        """A score that is so far below the maximum, or farther, has the distance `FARTHEST` (int32)."""
        if self.mult == 0:
            return (1 << 31) - 1
        wanted = (FARTHEST << self.shift) - (1 << (self.shift - 1))
        return min(-(-wanted // self.mult), (1 << 31) - 1)


def exponential_lanes(table: np.ndarray, worst: int) -> Lanes | None:
    """Lanes for the exponentials of scores whose differences are at most `worst`; None: one by one."""
    return table_lanes(table, 1) if worst < 1 << 31 else None  # distances are never positive


def packed_table(table: np.ndarray, lanes: Lanes | None) -> np.ndarray:
    """int16 [3, P] as kernels read it."""
    return table if lanes is None or lanes.isa is None else pack_table(lanes.isa, table)


def packed_shape(pieces: int, lanes: Lanes | None) -> tuple[int, int]:
    """Shape of `packed_table`."""
    return (3, pieces) if lanes is None or lanes.isa is None else table_shape(lanes.isa, pieces)


@dataclass(frozen=True)
class RowCells:
    """Local buffers of a row: int32 [2] (COUNT, TOP), int64 sum [1], cells of the reciprocal, scratch of the table."""

    counts: Any
    total: Any
    work: Any
    scratch: Any


def row_cells() -> RowCells:
    """Allocates the local buffers in the current block."""
    return RowCells(
        T.sblock_alloc_buffer((2,), "int32"),
        T.sblock_alloc_buffer((1,), "int64"),
        T.sblock_alloc_buffer((CELLS,), "int64"),
        T.sblock_alloc_buffer((2,), "int32"),
    )


def start_row(cells: RowCells, n: Expr, length: Expr | None, position: Expr | None) -> None:
    """Stores the number of valid keys: n, limited by a sequence's length (0..n) and by the row's position (causal)."""
    count = fp.i32(n)
    if length is not None:
        count = T.max(T.min(fp.i32(length), count), T.int32(0))
    if position is not None:
        count = T.min(count, fp.i32(position) + T.int32(1))
    T.buffer_store(cells.counts, count, [COUNT])
    T.buffer_store(cells.counts, T.int32(-(2**31)), [TOP])


def store_score(cells: RowCells, scores: Any, j: Expr, value: Expr) -> None:
    """scores[j] = value (int32), and the maximum so far."""
    T.buffer_store(scores, value, [j])
    T.buffer_store(cells.counts, T.max(cells.counts[TOP], scores[j]), [TOP])


def exponentials(cells: RowCells, scores: Any, exp: Exponential) -> None:
    """Replaces the scores of the valid keys by their exponentials; ROOT and SHIFT of the work cells hold 1 / sum."""
    count, begin = cells.counts[COUNT], T.int32(0)
    if exp.lanes is not None:
        begin = count // exp.lanes.count * exp.lanes.count
        _exponentials_in_lanes(cells, scores, exp, exp.lanes)
    with T.serial(count - begin) as i:
        j = begin + i
        below = fp.i64(cells.counts[TOP]) - fp.i64(scores[j])
        half = T.int64(1 << (exp.shift - 1))
        distance = T.shift_right(below * fp.const64(exp.mult) + half, T.int64(exp.shift))
        q = T.int32(0) - fp.i32(T.min(distance, T.int64(FARTHEST)))
        e = fp.pwl(cells.scratch, exp.table, None, exp.pieces, exp.table_shift, q, 16)
        T.buffer_store(scores, T.max(fp.i32(e), T.int32(0)), [j])
    T.buffer_store(cells.total, T.int64(0), [0])
    with T.serial(count) as j:
        T.buffer_store(cells.total, cells.total[0] + fp.i64(scores[j]), [0])
    reciprocal(cells.work, T.max(cells.total[0], T.int64(1)))


def _exponentials_in_lanes(cells: RowCells, scores: Any, exp: Exponential, lanes: Lanes) -> None:
    scratch, wide = lanes.scratch(), lanes.sums()
    top, zero = T.Broadcast(cells.counts[TOP], lanes.count), T.Broadcast(T.int16(0), lanes.count)
    with T.serial(cells.counts[COUNT] // lanes.count) as i:
        first = i * lanes.count
        # Scores that are farther away than that have the same distance, which saturates.
        below = T.min(top - lanes.load(scores, first), lanes.wide(T.int32(exp.farthest)))
        terms = [(below, lanes.wide(T.int32(exp.mult)))]
        distance = lanes.rescale(wide, terms, exp.shift, 0, 16, True)
        e = lanes.activate(scratch, exp.table, None, exp.pieces, exp.table_shift, zero - distance, 16)
        lanes.store(scores, fp.i32(T.max(e, zero)), first)


def weights(
    cells: RowCells, scores: Any, lanes: Lanes | None, bits: int, store: Callable[[Lanes, Expr, Expr], None]
) -> None:
    """Calls store(lanes, first, weights int32) for all valid keys, with weights as `weight` makes them: for registers
    of keys where there are lanes, then for those that are left, one by one."""
    begin = None
    if lanes is not None and lanes.isa is not None:
        wide, words = lanes.sums(), lanes.isa.words
        whole = cells.counts[COUNT] // lanes.count
        with T.serial(whole) as i:
            first = i * lanes.count
            for part in range(0, lanes.count, words):
                values = scores[T.Ramp(first + part, 1, words)]
                rest = cells.work[SHIFT] - T.int64(bits)
                scaled = lanes.isa.scaled_by(values, fp.i32(cells.work[ROOT]), rest)
                T.buffer_store(wide, scaled, [T.Ramp(part, 1, words)])
            store(lanes, first, lanes.load(wide, 0))
        begin = whole * lanes.count
    single = Lanes()
    valid_loop(cells, lambda j: store(single, j, fp.i32(weight(cells, scores[j], bits))), begin)


def weight(cells: RowCells, e: Expr, bits: int) -> Expr:
    """Weight of a key with `bits` fraction bits, int64. e: its exponential."""
    rest = cells.work[SHIFT] - T.int64(bits)
    half = T.shift_left(T.int64(1), rest - T.int64(1))
    return T.shift_right(fp.i64(e) * cells.work[ROOT] + half, rest)


def valid_loop(cells: RowCells, body: Callable[[Expr], None], begin: Expr | None = None) -> None:
    """body(j) for every valid key, from one on."""
    if begin is None:
        with T.serial(cells.counts[COUNT]) as j:
            body(j)
        return
    with T.serial(cells.counts[COUNT] - begin) as j:
        body(begin + j)
