"""Statistics of a row and normalised elements in SIMD lanes: the integers of normalize.py."""

from __future__ import annotations

from typing import Any

from tvm.tirx.script import builder as T

from irnn_tvm.ops.normalize import UNIT_BITS
from irnn_tvm.schedules.instruction_set import InstructionSet
from irnn_tvm.schedules.vector_set import VectorSet

from . import fixed_point as fp
from . import normalize
from .lanes import Lanes

Expr = Any


def row_statistics(
    isa: InstructionSet,
    kind: str,
    name: str,
    n: int,
    row: tuple[Any, tuple[Expr, ...]],
    eps: int,
) -> Any:
    """`normalize.row_statistics` of a row that lies in one piece.

    row: an int8 or int16 buffer and the outer indices of the row, whose n elements lie there among zeros, in any order.
    """
    buffer, outer = row
    stored = int(buffer.ty.shape[-1])
    if not isinstance(isa, VectorSet):
        return normalize.row_statistics(kind, name, n, lambda i: (buffer, (*outer, i)), eps, stored)
    halves, words, full = isa.halves, isa.words, stored // isa.halves
    sums = T.sblock_alloc_buffer((words,), "int32")
    spreads = T.sblock_alloc_buffer((words // 2,), "int64")
    total = T.sblock_alloc_buffer((1,), "int32")
    spread = T.sblock_alloc_buffer((1,), "int64")
    all_sums, all_spreads = sums[0:words], spreads[0 : words // 2]
    everything = buffer[(*outer, slice(0, stored))]
    with T.sblock(f"{name}_start"):
        T.reads()
        T.writes(all_sums, all_spreads)
        T.buffer_store(sums, T.Broadcast(T.int32(0), words), [T.Ramp(0, 1, words)])
        T.buffer_store(spreads, T.Broadcast(T.int64(0), words // 2), [T.Ramp(0, 1, words // 2)])

    def add_spread(values: Expr) -> None:
        add = isa.add_squares if kind == "layer" else isa.add_sizes
        at = T.Ramp(0, 1, words // 2)
        T.buffer_store(spreads, add(spreads[at], values), [at])

    if full:
        with T.serial(full) as i:
            with T.sblock(f"{name}_sums"):
                first = T.axis.reduce(full, i) * halves
                T.reads(buffer[(*outer, slice(first, first + halves))], all_sums, all_spreads)
                T.writes(all_sums, all_spreads)
                at = T.Ramp(0, 1, words)
                values = fp.cast(16, buffer[(*outer, T.Ramp(first, 1, halves))])
                T.buffer_store(sums, isa.add_pairs(sums[at], values), [at])
                if kind == "layer":
                    add_spread(values)
    with T.sblock(f"{name}_total"):
        T.reads(all_sums, everything)
        T.writes(total[0])
        T.buffer_store(total, _lane_sum(sums, words), [0])
        with T.serial(stored - full * halves) as i:
            T.buffer_store(total, total[0] + fp.i32(buffer[(*outer, full * halves + i)]), [0])
    if kind == "mad" and full:
        with T.serial(full) as i:
            with T.sblock(f"{name}_distances"):
                first = T.axis.reduce(full, i) * halves
                T.reads(buffer[(*outer, slice(first, first + halves))], total[0], all_spreads)
                T.writes(all_spreads)
                for part in (0, words):
                    values = fp.i32(buffer[(*outer, T.Ramp(first + part, 1, words))])
                    add_spread(values * T.int32(n) - T.Broadcast(total[0], words))
    with T.sblock(f"{name}_spread"):
        T.reads(all_spreads, total[0], everything)
        T.writes(spread[0])
        T.buffer_store(spread, _lane_sum(spreads, words // 2), [0])
        with T.serial(stored - full * halves) as i:
            value = fp.i32(buffer[(*outer, full * halves + i)])
            wide = fp.i64(value * value if kind == "layer" else T.abs(value * n - total[0]))
            T.buffer_store(spread, spread[0] + wide, [0])
    return normalize.from_sums(kind, name, n, total, spread, eps, stored)


def _lane_sum(buffer: Any, count: int) -> Expr:
    found = buffer[0]
    for lane in range(1, count):
        found = found + buffer[lane]
    return found


def units(lanes: Lanes, scratch: Any, at: int, cells: Any, value: Expr, n: int) -> Expr:
    """`normalize.unit` as int32 for all lanes. scratch: an int32 local buffer [..., lanes] whose row `at` keeps it.

    value: int32 expression of elements. Emits stores into the current block; the result for lanes reads them.
    """
    if lanes.isa is None:
        return fp.i32(normalize.unit(cells, value, n))
    words = lanes.isa.words
    total = T.Broadcast(fp.i32(cells[normalize.TOTAL]), words)
    factor, shift = fp.i32(cells[normalize.FACTOR]), cells[normalize.AMOUNT]
    for first in range(0, lanes.count, words):
        part = T.Shuffle([value], list(range(first, first + words)))
        scaled = lanes.isa.scaled_by(part * T.int32(n) - total, factor, shift)
        T.buffer_store(scratch, scaled, [at, T.Ramp(first, 1, words)])
    return lanes.load(scratch, at, 0)


def bias_term(lanes: Lanes, bias: Expr) -> tuple[Expr, Expr]:
    """bias * 2**16 as a term of `Lanes.rescale`: what is added to units times gains."""
    return bias, lanes.wide(T.int32(1 << UNIT_BITS))
