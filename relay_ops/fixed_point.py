"""Fixed-point arithmetic as TIR expressions: the same formulas as irnn_tvm/ops/arithmetic.py and pwl.py.

Expressions may be vectors: what comes out has the lanes of what goes in.
"""

from __future__ import annotations

from typing import Any

from tvm.tirx.script import builder as T

Expr = Any


def limits(bits: int) -> tuple[int, int]:
    """Smallest and largest value of a signed integer of `bits` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def lanes(value: Expr) -> int:
    """How many lanes an expression has; 1: it is a scalar."""
    return 1 if isinstance(value, int) else int(str(value.ty.dtype).partition("x")[2] or 1)


def cast(bits: int, value: Expr) -> Expr:
    """value as int{bits}, with its lanes."""
    count = lanes(value)
    return T.Cast(f"int{bits}" if count == 1 else f"int{bits}x{count}", value)


def i32(value: Expr) -> Expr:
    return cast(32, value)


def i64(value: Expr) -> Expr:
    return cast(64, value)


def const64(value: int) -> Expr:
    return T.int64(value)


def saturate(value: Expr, bits: int) -> Expr:
    """int32 or int64 expression -> int{bits}."""
    lo, hi = limits(bits)
    dtype = str(value.ty.dtype).partition("x")[0]
    return cast(bits, T.max(T.min(value, T.IntImm(dtype, hi)), T.IntImm(dtype, lo)))


def rescale(acc64: Expr, shift: int, zero_point: int, bits: int, fits: bool = False) -> Expr:
    """sat(((acc64 + 2**(shift-1)) >> shift) + zero_point) of an int64 expression that holds the product already.

    The shifted value is clamped in 64 bits before it is narrowed, so nothing can wrap; in 32 bits, which takes fewer
    instructions, where it is known to fit them (`within_int32`).
    """
    rounded = T.shift_right(acc64 + T.int64(1 << (shift - 1)), T.int64(shift))
    if fits and bits < 32:
        rounded = i32(rounded)
        return saturate(rounded + T.int32(zero_point) if zero_point else rounded, bits)
    lo, hi = limits(bits)
    clamped = T.max(T.min(rounded, T.int64(hi - zero_point)), T.int64(lo - zero_point))
    if bits == 32:  # without its zero point a 32-bit result may need a 33rd bit
        return i32(clamped + T.int64(zero_point))
    return cast(bits, i32(clamped) + zero_point)


def within_int32(worst: int, shift: int, zero_point: int) -> bool:
    """Whether the result of `rescale`, before it is clamped, is within int32 for every |acc64| <= worst: then it can be
    clamped there, which vectors do faster (`Lanes.rescale`)."""
    return ((worst + (1 << (shift - 1))) >> shift) + abs(zero_point) < 1 << 31


def pwl(scratch: Any, table: Any, row: int | None, pieces: int, shift: int, q: Expr, bits: int) -> Expr:
    """Piecewise-linear lookup by a branch-free binary search over the knots. q int32 -> int{bits}.

    scratch: int32 local buffer of 2: the input and the piece. (Buffer cells, because TVM's simplifier substitutes
    let-bound values into each other, which doubles the expression at every level of the search.)
    table: int16 buffer [3, P], or [N, 3, P] with `row` choosing the table. P is a power of two.
    Emits stores to scratch into the current block; the returned expression reads them.
    """

    def at(kind: int, piece: Expr) -> Expr:
        index = (kind, piece) if row is None else (row, kind, piece)
        return i32(table[index])

    T.buffer_store(scratch, q, [0])
    T.buffer_store(scratch, T.int32(0), [1])
    half = pieces // 2
    while half:
        step = T.Select(scratch[0] >= at(0, scratch[1] + half), T.int32(half), T.int32(0))
        T.buffer_store(scratch, scratch[1] + step, [1])
        half //= 2
    line = at(1, scratch[1]) * (scratch[0] - at(0, scratch[1])) + at(2, scratch[1]) * T.int32(1 << shift)
    if shift:
        line = T.shift_right(line + T.int32(1 << (shift - 1)), T.int32(shift))
    return saturate(line, bits)
