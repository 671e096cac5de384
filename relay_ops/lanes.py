"""The same formulas for one row and for the lanes of a tile: loads, stores and activations of neighbouring elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import InstructionSet
from irnn_tvm.schedules.vector_set import VectorSet

from . import fixed_point as fp
from .piece_tables import find_pieces

Expr = Any


class Lanes:
    """Neighbouring rows at a time: those of a tile in vectors, where the instruction set has any; else one by one.

    count: elements of an expression; rows: of a tile.
    """

    def __init__(self, rows: int = 1, isa: InstructionSet | None = None) -> None:
        self.isa = isa if isinstance(isa, VectorSet) else None
        self.rows, self.count = rows, 1 if self.isa is None else rows
        self.row_unroll = 1 if isa is None else isa.row_unroll
        self._row: Expr = 0
        self._locals: list[Any] = []

    def each(self, valid: Expr, emit: Callable[[], None]) -> None:
        """Calls `emit` for all rows of a tile together, or in a loop over the first `valid` of them."""
        if self.count == self.rows:
            emit()
            return
        unroll = self.row_unroll if isinstance(valid, int) and valid % self.row_unroll == 0 else 1
        with T.serial(valid // unroll if unroll > 1 else valid) as row:
            for part in range(unroll):
                self._row = row * unroll + part if unroll > 1 else row
                emit()
        self._row = 0

    def local(self, number: int, dtype: str) -> Any:
        """A local buffer [number, count] for results of the rows that are worked on."""
        self._locals.append(T.sblock_alloc_buffer((number, self.count), dtype))
        return self._locals[-1]

    def _place(self, buffer: Any, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        *outer, first = index
        if self.count > 1:
            return (*outer, T.Ramp(first, 1, self.count))
        own = self.rows == 1 or any(buffer is local for local in self._locals)
        return index if own else (*outer, first + self._row)

    def load(self, buffer: Any, *index: Expr) -> Expr:
        """buffer[index] and the following elements of the last axis, for the rows that are worked on."""
        return buffer[self._place(buffer, index)]

    def store(self, buffer: Any, value: Expr, *index: Expr) -> None:
        T.buffer_store(buffer, value, list(self._place(buffer, index)))

    def rescale(
        self,
        scratch: Any,
        terms: Sequence[tuple[Expr, Expr]],
        shift: int,
        zero_point: int,
        bits: int,
        fits: bool,
    ) -> Expr:
        """sat(rs(a * b + ..., shift) + zero_point) of int32 expressions -> int{bits}.

        fits: see `fixed_point.within_int32`. scratch: a local buffer of `sums`, which the result for lanes reads.
        """
        if self.isa is None or not fits or bits == 32:
            total = None
            for a, b in terms:
                product = fp.i64(a) * fp.i64(b)
                total = product if total is None else total + product
            return fp.rescale(total, shift, zero_point, bits, fits)
        words = self.isa.words
        for first in range(0, self.count, words):
            places = list(range(first, first + words))
            part = [tuple(T.Shuffle([value], places) for value in term) for term in terms]
            T.buffer_store(scratch, self.isa.scaled_sum(part, shift), [T.Ramp(first, 1, words)])
        total = self.load(scratch, 0)
        return fp.saturate(total + T.int32(zero_point) if zero_point else total, bits)

    def wide(self, value: Expr) -> Expr:
        """A constant in all lanes."""
        return value if self.count == 1 else T.Broadcast(value, self.count)

    def sums(self) -> Any:
        """A local buffer that `rescale` works in."""
        self._locals.append(T.sblock_alloc_buffer((self.count,), "int32"))
        return self._locals[-1]

    def scratch(self) -> Any:
        """A local buffer that `activate` works in."""
        if self.isa is None:
            return T.sblock_alloc_buffer((2,), "int32")
        self._locals.append(T.sblock_alloc_buffer((3, max(self.count, self.isa.halves)), "int16"))
        return self._locals[-1]

    def activate(
        self, scratch: Any, table: Any, row: int | None, pieces: int, shift: int, q: Expr, bits: int
    ) -> Expr:
        """Piecewise-linear function of q (int8, int16 or int32 in the range of int16) -> int{bits}, 8 or 16.

        table: int16 [3, P], or [N, 3, P] with `row` choosing one; for lanes as Tiling.pack_table made it. shift: at
        most 14.
        Emits stores to scratch into the current block; the returned expression reads them.
        """
        if self.isa is None:
            return fp.pwl(scratch, table, row, pieces, shift, fp.i32(q), bits)
        isa, index = self.isa, () if row is None else (row,)
        self.store(scratch, fp.cast(16, q), 0, 0)
        knots, slopes, values = (isa.load_table(table, (*index, kind), pieces) for kind in range(3))
        for first in range(0, self.count, isa.halves):

            def at(kind: int, first: int = first) -> tuple[int, Any]:
                return kind, T.Ramp(first, 1, isa.halves)

            find_pieces(isa, table, index, pieces, scratch[at(0)], scratch, at(1))
            # Pieces are shorter than 2**15 (`short_pieces`), so that distances from their knots are int16.
            knot, slope, value = (isa.look_up(entries, scratch[at(1)]) for entries in (knots, slopes, values))
            result = isa.interpolate(scratch[at(0)] - knot, slope, value, shift)
            T.buffer_store(scratch, result, [*at(2)])
        return fp.saturate(self.load(scratch, 2, 0), bits) if bits < 16 else self.load(scratch, 2, 0)


def short_pieces(tables: np.ndarray, end: int = 1 << 15) -> bool:
    """Whether every int16 below `end` is less than 2**15 away from the knot of its piece in all tables int16
    [..., 3, P]."""
    knots = tables[..., 0, :].astype(np.int64)
    ends = np.concatenate([knots[..., 1:], np.full_like(knots[..., :1], end)], axis=-1)
    return bool((ends - knots <= 1 << 15).all() and (knots[..., 0] <= 0).all())
