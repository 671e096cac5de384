"""What the instruction sets of x86 have in common: rescaling in even and odd lanes, and interpolation by vpmaddwd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, broadcast_words, intrinsic
from .vector_set import VectorSet


class X86(VectorSet):
    """Formulas for vectors of any width; most instructions work in each of their 128-bit parts."""

    fetches = True
    multiply_add: str
    pack: str

    def load_activations(self, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        return [self.planes_of(word) for word in broadcast_words(self, x, index, groups)]

    def scaled_sum(self, terms: Sequence[tuple[Expr, Expr]], shift: int) -> Expr:
        # vpmuldq multiplies even lanes; the odd ones are moved there.
        words = self.words
        even = odd = None
        for a, b in terms:
            x, y = (T.reinterpret(f"int64x{words // 2}", value) for value in (a, b))
            low, high = self._product(x, y), self._product(*(self._logical_right(v, 32) for v in (x, y)))
            even = low if even is None else even + low
            odd = high if odd is None else odd + high
        half = T.Broadcast(T.int64(1 << (shift - 1)), words // 2)
        even, odd = even + half, odd + half
        # Only 32 bits of each are wanted, so that logical shifts do, which AVX2 has for 64 bits, or those of 32 bits.
        if shift <= 32:
            low = self._logical_right(even, shift)
            high = odd
            if shift < 32:
                high = T.shift_left(odd, T.Broadcast(T.int64(32 - shift), words // 2))
            return self._alternate(low, high)
        upper = self._alternate(self._logical_right(even, 32), odd)
        return T.shift_right(upper, T.Broadcast(T.int32(shift - 32), words))

    def add_pairs(self, total: Expr, values: Expr) -> Expr:
        ones = T.Broadcast(T.int16(1), self.halves)
        return total + intrinsic(f"int32x{self.words}", self.multiply_add, values, ones)

    def add_squares(self, total: Expr, values: Expr) -> Expr:
        # Two squares of -2**15 are 2**31, which fits as long as nobody takes it for a sign.
        squares = intrinsic(f"int32x{self.words}", self.multiply_add, values, values)
        return self._add_words(total, squares)

    def add_sizes(self, total: Expr, values: Expr) -> Expr:
        sizes = intrinsic(f"int32x{self.words}", f"llvm.abs.v{self.words}i32", values, T.bool(False))
        return self._add_words(total, sizes)

    def scaled_by(self, values: Expr, factor: Expr, shift: Expr) -> Expr:
        # AVX2 shifts 64 bits only as if they had no sign: 2**63 more makes them so, and is taken off behind the shift.
        words, pairs = self.words, self.words // 2
        half = T.Broadcast(T.shift_left(T.int64(1), shift - T.int64(1)), pairs)
        sign = T.Broadcast(T.int64(-(1 << 63)), pairs)
        places = T.Broadcast(T.Cast("uint64", shift), pairs)
        more = T.Broadcast(T.shift_left(T.int64(1), T.int64(63) - shift), pairs)
        wide, factors = (
            T.reinterpret(f"int64x{pairs}", value) for value in (values, T.Broadcast(factor, words))
        )
        parts = []
        for lanes in (wide, self._logical_right(wide, 32)):
            total = self._product(lanes, factors) + half
            unsigned = T.reinterpret(f"uint64x{pairs}", T.bitwise_xor(total, sign))
            parts.append(T.reinterpret(f"int64x{pairs}", T.shift_right(unsigned, places)) - more)
        return self._alternate(parts[0], T.shift_left(parts[1], T.Broadcast(T.int64(32), pairs)))

    def interpolate(self, distance: Expr, slope: Expr, value: Expr, shift: int) -> Expr:
        # vpmaddwd of (slope, value) and (distance, 2**shift); lanes are interleaved and packed in the same order.
        halves, words = self.halves, self.words
        scale = T.Broadcast(T.int16(1 << shift), halves)
        parts = []
        for half in (0, 4):
            order = [
                place
                for first in range(0, halves, 8)
                for lane in range(first + half, first + half + 4)
                for place in (lane, lane + halves)
            ]
            left, right = T.Shuffle([slope, value], order), T.Shuffle([distance, scale], order)
            line = intrinsic(f"int32x{words}", self.multiply_add, left, right)
            if shift:
                line = T.shift_right(line + T.int32(1 << (shift - 1)), T.Broadcast(T.int32(shift), words))
            parts.append(line)
        return intrinsic(f"int16x{halves}", self.pack, *parts)

    def _add_words(self, total: Expr, values: Expr) -> Expr:
        """int64 lanes: total plus int32 lanes without a sign."""
        pairs = T.reinterpret(f"int64x{self.words // 2}", values)
        low = T.bitwise_and(pairs, T.Broadcast(T.int64((1 << 32) - 1), self.words // 2))
        return total + low + self._logical_right(pairs, 32)

    def _logical_right(self, value: Expr, places: int) -> Expr:
        lanes = self.words // 2
        shifted = T.shift_right(T.reinterpret(f"uint64x{lanes}", value), T.Broadcast(T.uint64(places), lanes))
        return T.reinterpret(f"int64x{lanes}", shifted)

    def _product(self, x: Expr, y: Expr) -> Expr:
        """The product of the lower halves of int64 lanes; LLVM makes it one vpmuldq."""
        places = T.Broadcast(T.int64(32), self.words // 2)
        return T.shift_right(T.shift_left(x, places), places) * T.shift_right(T.shift_left(y, places), places)

    def _alternate(self, even: Expr, odd: Expr) -> Expr:
        """int32 lanes: the lower halves of `even` and the upper ones of `odd`."""
        words = self.words
        lanes = [T.reinterpret(f"int32x{words}", value) for value in (even, odd)]
        return T.Shuffle(lanes, [n + words * (n % 2) for n in range(words)])
