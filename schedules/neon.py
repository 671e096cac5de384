"""NEON of AArch64 without the dot-product instructions: smull, smlal and sadalp; tables by tbl.

A row multiplies 16 activations at a time. The sum of two products of int8 fits int16 as long as no weight is -128, so
that the halves of a register share one widening addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, intrinsic
from .vector_set import VectorSet

# Groups of a product that LLVM is left to unroll: four accumulators are fewer than its registers hold, but so short a
# loop, unrolled by four, becomes straight code whose halves of registers it spills.
SHORT = 10


class Neon(VectorSet):
    name = "neon"
    register_bytes = 16
    tiles: tuple[int, ...] = (8, 4)
    rows = 32
    block = 8
    group = 16
    spread = 4
    alone = 0
    unroll = 0
    vectors = 4
    shared = 4
    shared_unroll = 1
    lowest_weight = -127
    fetches = True
    # An index is the two bytes of an entry: 2 * piece, and 2 * piece + 1 above it.
    first_index = 0x0100
    index_step = 0x0202

    def registers(self, vectors: int, groups: int) -> int:
        if vectors == 1 and not self.alone:
            return 64 if groups <= SHORT else 4
        return super().registers(vectors, groups)

    def unrolling(self, vectors: int, groups: int) -> int:
        if vectors == 1 and not self.unroll:
            return 1 if groups <= SHORT else 4
        return super().unrolling(vectors, groups)

    def load_activations(self, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        *outer, first = index
        return [x[(*outer, T.Ramp(first + 16 * i, 1, 16))] for i in range(groups)]

    def add_products(self, total: Expr, weights: Expr, activations: Expr) -> Expr:
        low, high = (
            T.Cast("int16x8", part("int8x8", weights)) * T.Cast("int16x8", part("int8x8", activations))
            for part in (T.vectorlow, T.vectorhigh)
        )
        return self.add_pairs(total, low + high)

    def gather(self, acc: Sequence[Any], vector: int, at: int) -> Expr:
        rows = [acc[vector][T.Ramp(at + 4 * n, 1, 4)] for n in range(4)]
        return self.neighbours(self.neighbours(rows[0], rows[1]), self.neighbours(rows[2], rows[3]))

    def add_pairs(self, total: Expr, products: Expr) -> Expr:
        """int32x4: total plus sums of neighbours of int16x8."""
        return total + intrinsic("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", products)

    def add_words(self, total: Expr, values: Expr) -> Expr:
        """int64x2: total plus sums of neighbours of uint32x4."""
        sums = intrinsic("uint64x2", "llvm.aarch64.neon.uaddlp.v2i64.v4i32", values)
        return total + T.reinterpret("int64x2", sums)

    def neighbours(self, low: Expr, high: Expr) -> Expr:
        """int32x4: sums of neighbours of two int32x4."""
        return intrinsic("int32x4", "llvm.aarch64.neon.addp.v4i32", low, high)

    def product(self, a: Expr, b: Expr) -> Expr:
        """int64x2 of int32x2. As an intrinsic, because LLVM finds the instruction for it only where it still sees that
        factors were narrower, and else multiplies 64 bits, lane after lane."""
        return intrinsic("int64x2", "llvm.aarch64.neon.smull.v2i64", a, b)

    def rounded(self, value: Expr, shift: int | Expr) -> Expr:
        """(value + 2**(shift-1)) >> shift of int64x2 in one instruction, where adding and shifting are two."""
        places = T.Broadcast(T.int64(-shift) if isinstance(shift, int) else T.int64(0) - shift, 2)
        return intrinsic("int64x2", "llvm.aarch64.neon.srshl.v2i64", value, places)

    def narrowed(self, value: Expr, shift: int) -> Expr:
        """The same of int32x4, saturated to int16x4."""
        if shift == 0:
            return intrinsic("int16x4", "llvm.aarch64.neon.sqxtn.v4i16", value)
        return intrinsic("int16x4", "llvm.aarch64.neon.sqrshrn.v4i16", value, T.int32(shift))

    def scaled_sum(self, terms: Sequence[tuple[Expr, Expr]], shift: int) -> Expr:
        halves = []
        for part in (T.vectorlow, T.vectorhigh):
            total = None
            for a, b in terms:
                product = self.product(part("int32x2", a), part("int32x2", b))
                total = product if total is None else total + product
            halves.append(self.rounded(total, shift))
        return T.Cast("int32x4", T.vectorcombine("int64x4", *halves))

    def add_squares(self, total: Expr, values: Expr) -> Expr:
        # Two squares of -2**15 are 2**31, which fits as long as nobody takes it for a sign.
        squares = []
        for part in (T.vectorlow, T.vectorhigh):
            wide = T.Cast("int32x4", part("int16x4", values))
            squares.append(T.reinterpret("uint32x4", wide * wide))
        return self.add_words(total, squares[0] + squares[1])

    def add_sizes(self, total: Expr, values: Expr) -> Expr:
        sizes = intrinsic("int32x4", "llvm.abs.v4i32", values, T.bool(False))
        return self.add_words(total, T.reinterpret("uint32x4", sizes))

    def scaled_by(self, values: Expr, factor: Expr, shift: Expr) -> Expr:
        factors = T.Broadcast(factor, 4)
        halves = [
            self.rounded(self.product(part("int32x2", values), part("int32x2", factors)), shift)
            for part in (T.vectorlow, T.vectorhigh)
        ]
        return T.Cast("int32x4", T.vectorcombine("int64x4", *halves))

    def interpolate(self, distance: Expr, slope: Expr, value: Expr, shift: int) -> Expr:
        halves = []
        for part in (T.vectorlow, T.vectorhigh):
            d, m, v = (T.Cast("int32x4", part("int16x4", operand)) for operand in (distance, slope, value))
            line = m * d + T.shift_left(v, T.Broadcast(T.int32(shift), 4))
            halves.append(self.narrowed(line, shift))
        return T.vectorcombine("int16x8", *halves)

    def look_up(self, table: Sequence[Expr], index: Expr) -> Expr:
        entries = [T.reinterpret("int8x16", row) for row in table]
        places = T.reinterpret("int8x16", index)
        found = None
        for first in range(0, len(entries), 4):
            part = entries[first : first + 4]
            name = f"llvm.aarch64.neon.tbl{len(part)}.v16i8"
            # Indices beyond a part's bytes, negative ones among them, give 0.
            here = places - T.int8(64) if first else places
            value = intrinsic("int8x16", name, *part, here)
            found = value if found is None else found | value
        return T.reinterpret("int16x8", found)


NEON = Neon()
