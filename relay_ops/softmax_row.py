"""One row of softmax as TIR: the integers of irnn_tvm/ops/softmax.py, over scores that lie in an int32 scratch row.

The valid keys of a row are a prefix of it (lengths, causality), so every loop ends at their number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.tirx.script import builder as T

from irnn_tvm.ops.softmax import FARTHEST

from . import fixed_point as fp
from .normalize import CELLS, ROOT, SHIFT, reciprocal

Expr = Any

COUNT, TOP = 0, 1


@dataclass(frozen=True)
class Exponential:
    """The table of exp and the rescale to its grid: attributes of the ops that use a softmax."""

    table: Any
    pieces: int
    table_shift: int
    mult: int
    shift: int


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
    T.buffer_store(cells.total, T.int64(0), [0])
    with T.serial(cells.counts[COUNT]) as j:
        below = fp.i64(cells.counts[TOP]) - fp.i64(scores[j])
        half = T.int64(1 << (exp.shift - 1))
        distance = T.shift_right(below * fp.const64(exp.mult) + half, T.int64(exp.shift))
        q = T.int32(0) - fp.i32(T.min(distance, T.int64(FARTHEST)))
        e = fp.pwl(cells.scratch, exp.table, None, exp.pieces, exp.table_shift, q, 16)
        T.buffer_store(scores, T.max(fp.i32(e), T.int32(0)), [j])
        T.buffer_store(cells.total, cells.total[0] + fp.i64(scores[j]), [0])
    reciprocal(cells.work, T.max(cells.total[0], T.int64(1)))


def weight(cells: RowCells, e: Expr, bits: int) -> Expr:
    """Weight of a key with `bits` fraction bits, int64. e: its exponential."""
    rest = cells.work[SHIFT] - T.int64(bits)
    half = T.shift_left(T.int64(1), rest - T.int64(1))
    return T.shift_right(fp.i64(e) * cells.work[ROOT] + half, rest)


def valid_loop(cells: RowCells, body: Callable[[Expr], None]) -> None:
    """body(j) for every valid key."""
    with T.serial(cells.counts[COUNT]) as j:
        body(j)
