"""Reciprocals, row statistics and normalised elements as TIR: the integers of irnn_tvm/ops/normalize.py.

Every function emits stores into local int64 buffers ("cells") of the current block. (Cells, because TVM's simplifier
substitutes let-bound values into each other, which doubles the expression at every Newton step.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.tirx.script import builder as T

from irnn_tvm.ops.normalize import (
    HALF_29,
    HALF_30,
    RECIPROCAL_SEED,
    RECIPROCAL_STEPS,
    RSQRT_SEED,
    RSQRT_STEPS,
    UNIT_BITS,
)

from . import fixed_point as fp

Expr = Any

# Cells of a reciprocal: the value (later its mantissa), the exponent (later the shift), the result, scratch.
VALUE, SHIFT, ROOT, WORK = 0, 1, 2, 3
CELLS = 4
# Cells of a row's statistics, int64.
TOTAL, FACTOR, ROUND, AMOUNT = 0, 1, 2, 3


def _shr(value: Expr, amount: Expr) -> Expr:
    return T.shift_right(value, T.int64(amount) if isinstance(amount, int) else amount)


def _normalise(cells: Any, v: Expr, *, even: bool) -> None:
    """VALUE = v * 2**(30 - e), SHIFT = e = floor(log2 v), made even if asked, by a branch-free binary search."""
    T.buffer_store(cells, v, [VALUE])
    T.buffer_store(cells, T.int64(0), [SHIFT])
    for step in (32, 16, 8, 4, 2, 1):
        high = _shr(cells[VALUE], cells[SHIFT] + T.int64(step)) > T.int64(0)
        T.buffer_store(cells, cells[SHIFT] + T.Select(high, T.int64(step), T.int64(0)), [SHIFT])
    if even:
        T.buffer_store(cells, T.bitwise_and(cells[SHIFT], T.int64(~1)), [SHIFT])
    left = T.shift_left(cells[VALUE], T.max(T.int64(30) - cells[SHIFT], T.int64(0)))
    right = _shr(cells[VALUE], T.max(cells[SHIFT] - T.int64(30), T.int64(0)))
    T.buffer_store(cells, T.Select(cells[SHIFT] <= T.int64(30), left, right), [VALUE])


def reciprocal(cells: Any, v: Expr) -> None:
    """1/v ~= cells[ROOT] * 2**-cells[SHIFT]. v: int64 expression, 1..2**62-1; cells: int64 buffer of CELLS."""
    _normalise(cells, v, even=False)
    line = _shr(T.int64(RECIPROCAL_SEED[1]) * cells[VALUE], 31)
    T.buffer_store(cells, T.int64(RECIPROCAL_SEED[0]) - line, [ROOT])
    for _ in range(RECIPROCAL_STEPS):
        T.buffer_store(cells, _shr(cells[VALUE] * cells[ROOT] + T.int64(HALF_29), 30), [WORK])
        step = cells[ROOT] * (T.int64(1 << 31) - cells[WORK])
        T.buffer_store(cells, _shr(step + T.int64(HALF_29), 30), [ROOT])
    T.buffer_store(cells, cells[SHIFT] + T.int64(30), [SHIFT])


def rsqrt(cells: Any, v: Expr) -> None:
    """1/sqrt(v) ~= cells[ROOT] * 2**-cells[SHIFT]. v: int64 expression, 1..2**62-1; cells: int64 buffer of CELLS."""
    _normalise(cells, v, even=True)
    line = _shr(T.int64(RSQRT_SEED[1]) * cells[VALUE], 30)
    T.buffer_store(cells, T.int64(RSQRT_SEED[0]) - line, [ROOT])
    for _ in range(RSQRT_STEPS):
        T.buffer_store(cells, _shr(cells[ROOT] * cells[ROOT] + T.int64(HALF_29), 30), [WORK])
        T.buffer_store(cells, _shr(cells[WORK] * cells[VALUE] + T.int64(HALF_29), 30), [WORK])
        step = cells[ROOT] * (T.int64(3 << 30) - cells[WORK])
        T.buffer_store(cells, _shr(step + T.int64(HALF_30), 31), [ROOT])
    T.buffer_store(cells, _shr(cells[SHIFT], 1) + T.int64(30), [SHIFT])


Read = Callable[[Expr], tuple[Any, tuple[Any, ...]]]


def _sum(name: str, out: Any, n: int, read: Read, term: Callable[[Expr], Expr], needs: list[Any]) -> None:
    """out[0] = sum over the row of term(x), as one reduction block inside the current block."""
    dtype = str(out.ty.dtype)
    with T.serial(n) as i:
        with T.sblock(name):
            vi = T.axis.reduce(n, i)
            buffer, at = read(vi)
            T.reads(buffer[at], *needs)
            T.writes(out[0])
            with T.init():
                T.buffer_store(out, T.IntImm(dtype, 0), [0])
            T.buffer_store(out, out[0] + T.Cast(dtype, term(fp.i32(buffer[at]))), [0])


def row_statistics(kind: str, name: str, n: int, read: Read, eps: int, stored: int | None = None) -> Any:
    """Emits the statistics of one row, as blocks inside the current block.

    kind: "layer" or "mad"; name: prefix of the block names, unique in the kernel; n: length of the row;
    read(i): (buffer, index) of element i, int8 or int16. eps: as `layer_norm_units` and `mad_norm_units` take it;
    stored: how many elements to read (None: n), those besides the n being 0.
    Returns the int64 cells that `unit` reads; a block that calls `unit` declares T.reads(cells[0:CELLS]).
    """
    total = T.sblock_alloc_buffer((1,), "int32")
    spread = T.sblock_alloc_buffer((1,), "int64")
    stored = n if stored is None else stored
    _sum(f"{name}_total", total, stored, read, lambda x: x, [])
    if kind == "layer":
        _sum(f"{name}_squares", spread, stored, read, lambda x: fp.i64(x) * fp.i64(x), [])
    else:
        _sum(f"{name}_distances", spread, stored, read, lambda x: fp.i64(T.abs(x * n - total[0])), [total[0]])
    return from_sums(kind, name, n, total, spread, eps, stored)


def from_sums(kind: str, name: str, n: int, total: Any, spread: Any, eps: int, stored: int) -> Any:
    """The cells of `row_statistics` from total[0], int32, the sum of the row, and spread[0], int64, that of its
    squares or of |n * x - total|, over `stored` elements, those besides the n being 0."""
    cells = T.sblock_alloc_buffer((CELLS,), "int64")
    work = T.sblock_alloc_buffer((CELLS,), "int64")
    with T.sblock(f"{name}_statistics"):
        T.reads(total[0], spread[0])
        T.writes(cells[0:CELLS])
        if kind == "layer":
            variance = spread[0] * T.int64(n) - fp.i64(total[0]) * fp.i64(total[0])
            rsqrt(work, variance + T.int64(eps))
            factor, shift = work[ROOT], work[SHIFT] - T.int64(UNIT_BITS)
        else:
            bits = (n - 1).bit_length()
            distances = spread[0]
            if stored > n:  # zeros that are no elements are |total| away
                distances = distances - fp.i64(T.abs(total[0])) * T.int64(stored - n)
            reciprocal(work, distances + T.int64(eps))
            factor = _shr(work[ROOT] * T.int64(n), bits)
            shift = T.max(work[SHIFT] - T.int64(bits + UNIT_BITS), T.int64(1))
        T.buffer_store(cells, fp.i64(total[0]), [TOTAL])
        T.buffer_store(cells, factor, [FACTOR])
        T.buffer_store(cells, shift, [AMOUNT])
        T.buffer_store(cells, T.shift_left(T.int64(1), cells[AMOUNT] - T.int64(1)), [ROUND])
    return cells


def unit(cells: Any, value: Expr, n: int) -> Expr:
    """Normalised element with UNIT_BITS fraction bits, int64. value: int32 expression of a row's element."""
    d = fp.i64(value * n - fp.i32(cells[TOTAL]))
    return _shr(d * fp.i64(fp.i32(cells[FACTOR])) + cells[ROUND], cells[AMOUNT])


def affine(units: Expr, gamma: Expr, beta: Expr) -> Expr:
    """u * gamma + beta * 2**16, int64. units: of `unit`, which fit int32; gamma, beta: int32 expressions."""
    return fp.i64(fp.i32(units)) * fp.i64(gamma) + fp.i64(beta) * T.int64(1 << UNIT_BITS)
