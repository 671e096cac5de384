"""AVX2: vpmaddubsw of |activation| and sign-adjusted weights, vpmaddwd to int32; tables by vpshufb.

128 * 127 * 2 fits int16, so that nothing saturates as long as no weight is -128.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, InstructionSet, broadcast_words, intrinsic


class Avx2(InstructionSet):
    name = "avx2"
    register_bytes = 32
    tiles = (64, 32, 16, 8)
    rows = 64
    unroll = 2
    vectors = 2
    shared = 4
    lowest_weight = -127
    first_index = 0x0100
    index_step = 0x0202

    def load_activations(self, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        return broadcast_words(self, x, index, groups)

    def dot(
        self, acc: Any, at: tuple[int, int], weights: Sequence[Expr], activations: Sequence[Expr]
    ) -> None:
        row, place = at[0], T.Ramp(at[1], 1, 8)
        total = acc[row, place]
        ones = T.Broadcast(T.int16(1), 16)
        for w, x in zip(weights, activations, strict=True):
            size = intrinsic("int8x32", "llvm.abs.v32i8", x, T.bool(False))
            signed = intrinsic("int8x32", "llvm.x86.avx2.psign.b", w, x)
            pairs = intrinsic("int16x16", "llvm.x86.avx2.pmadd.ub.sw", size, signed)
            total = total + intrinsic("int32x8", "llvm.x86.avx2.pmadd.wd", pairs, ones)
        T.buffer_store(acc, total, [row, place])

    def scaled_sum(self, terms: Sequence[tuple[Expr, Expr]], shift: int) -> Expr:
        # vpmuldq multiplies even lanes; the odd ones are moved there.
        even = odd = None
        for a, b in terms:
            x, y = T.reinterpret("int64x4", a), T.reinterpret("int64x4", b)
            low, high = _product(x, y), _product(_logical_right(x, 32), _logical_right(y, 32))
            even = low if even is None else even + low
            odd = high if odd is None else odd + high
        half = T.Broadcast(T.int64(1 << (shift - 1)), 4)
        even, odd = even + half, odd + half
        # Only 32 bits of each are wanted, so that logical shifts do, which AVX2 has for 64 bits, or those of 32 bits.
        if shift <= 32:
            low = _logical_right(even, shift)
            high = T.shift_left(odd, T.Broadcast(T.int64(32 - shift), 4)) if shift < 32 else odd
            return _alternate(low, high)
        upper = _alternate(_logical_right(even, 32), odd)
        return T.shift_right(upper, T.Broadcast(T.int32(shift - 32), 8)) if shift > 32 else upper

    def add_pairs(self, total: Expr, values: Expr) -> Expr:
        ones = T.Broadcast(T.int16(1), 16)
        return total + intrinsic("int32x8", "llvm.x86.avx2.pmadd.wd", values, ones)

    def add_squares(self, total: Expr, values: Expr) -> Expr:
        # Two squares of -2**15 are 2**31, which fits as long as nobody takes it for a sign.
        return _add_words(total, intrinsic("int32x8", "llvm.x86.avx2.pmadd.wd", values, values))

    def add_sizes(self, total: Expr, values: Expr) -> Expr:
        return _add_words(total, intrinsic("int32x8", "llvm.abs.v8i32", values, T.bool(False)))

    def scaled_by(self, values: Expr, factor: Expr, shift: Expr) -> Expr:
        # AVX2 shifts 64 bits only as if they had no sign: 2**63 more makes them so, and is taken off behind the shift.
        half = T.Broadcast(T.shift_left(T.int64(1), shift - T.int64(1)), 4)
        sign = T.Broadcast(T.int64(-(1 << 63)), 4)
        places = T.Broadcast(T.Cast("uint64", shift), 4)
        more = T.Broadcast(T.shift_left(T.int64(1), T.int64(63) - shift), 4)
        wide, factors = (T.reinterpret("int64x4", v) for v in (values, T.Broadcast(factor, 8)))
        parts = []
        for lanes in (wide, _logical_right(wide, 32)):
            total = _product(lanes, factors) + half
            shifted = T.shift_right(T.reinterpret("uint64x4", T.bitwise_xor(total, sign)), places)
            parts.append(T.reinterpret("int64x4", shifted) - more)
        return _alternate(parts[0], T.shift_left(parts[1], T.Broadcast(T.int64(32), 4)))

    def interpolate(self, distance: Expr, slope: Expr, value: Expr, shift: int) -> Expr:
        # vpmaddwd of (slope, value) and (distance, 2**shift); lanes are interleaved and packed in the same order.
        scale = T.Broadcast(T.int16(1 << shift), 16)
        parts = []
        for first in (0, 4):
            order = [n for lane in range(first, first + 4) for n in (lane, lane + 16)]
            order += [n + 8 for n in order]
            left, right = T.Shuffle([slope, value], order), T.Shuffle([distance, scale], order)
            line = intrinsic("int32x8", "llvm.x86.avx2.pmadd.wd", left, right)
            if shift:
                line = T.shift_right(line + T.int32(1 << (shift - 1)), T.Broadcast(T.int32(shift), 8))
            parts.append(line)
        return intrinsic("int16x16", "llvm.x86.avx2.packssdw", *parts)

    @property
    def entries(self) -> int:
        return 8  # vpshufb sees 16 bytes, so that a register holds eight entries, twice

    def load_table(self, table: Any, index: Sequence[Expr], pieces: int) -> list[Expr]:
        parts = [
            table[(*index, T.Ramp(first, 1, self.entries))]
            for first in range(0, self.table_row(pieces), self.entries)
        ]
        return [T.Shuffle([part, part], [*range(self.entries)] * 2) for part in parts]

    def look_up(self, table: Sequence[Expr], index: Expr) -> Expr:
        places = T.reinterpret("int8x32", index)
        found = [
            intrinsic("int8x32", "llvm.x86.avx2.pshuf.b", T.reinterpret("int8x32", part), places)
            for part in table
        ]
        bit = 4  # of an index: which half of the registers that are left
        while len(found) > 1:
            # vpblendvb looks at the top bit of every byte. What a shift moves from byte to byte stays below it.
            choice = T.reinterpret("int8x32", T.shift_left(index, T.Broadcast(T.int16(7 - bit), 16)))
            found = [
                intrinsic("int8x32", "llvm.x86.avx2.pblendvb", low, high, choice)
                for low, high in zip(found[::2], found[1::2], strict=True)
            ]
            bit += 1
        return T.reinterpret("int16x16", found[0])


def _logical_right(value: Expr, places: int) -> Expr:
    shifted = T.shift_right(T.reinterpret("uint64x4", value), T.Broadcast(T.uint64(places), 4))
    return T.reinterpret("int64x4", shifted)


def _add_words(total: Expr, values: Expr) -> Expr:
    """int64x4: total plus eight words without a sign."""
    pairs = T.reinterpret("int64x4", values)
    low = T.bitwise_and(pairs, T.Broadcast(T.int64((1 << 32) - 1), 4))
    return total + low + _logical_right(pairs, 32)


def _product(x: Expr, y: Expr) -> Expr:
    """The product of the lower halves of int64 lanes; LLVM makes it one vpmuldq."""
    places = T.Broadcast(T.int64(32), 4)
    return T.shift_right(T.shift_left(x, places), places) * T.shift_right(T.shift_left(y, places), places)


def _alternate(even: Expr, odd: Expr) -> Expr:
    """int32 lanes: the lower halves of `even` and the upper ones of `odd`."""
    lanes = [T.reinterpret("int32x8", value) for value in (even, odd)]
    return T.Shuffle(lanes, [0, 9, 2, 11, 4, 13, 6, 15])


AVX2 = Avx2()
