"""Products without VNNI: vpmaddubsw of |activation| and adjusted weights, vpmaddwd to int32.

vpmaddubsw wants one factor unsigned. Where x is negative, x w = |x| (~w + 1), and ~w is an exclusive or with the sign
of x: the products of |x| and w ^ sign(x) are x w but for a sum of |x| over negative x, which is the same for all rows.
Factors of at most 128 and from -128 to 127 give pairs from -32768 to 32512: nothing saturates. vpsignb would need no
correction, but shares its execution ports with the multiplications, and has no wide form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, intrinsic
from .x86 import X86


class SignProducts(X86):
    """multiply_pairs, add_bytes: the intrinsics of vpmaddubsw and vpsadbw."""

    multiply_pairs: str
    add_bytes: str
    negatives = True
    planes = 2
    cached = 1 << 14

    def planes_of(self, activations: Expr) -> tuple[Expr, ...]:
        size = self.register_bytes
        sizes = intrinsic(f"int8x{size}", f"llvm.abs.v{size}i8", activations, T.bool(False))
        return sizes, T.shift_right(activations, T.Broadcast(T.int8(7), size))

    def add_products(self, total: Expr, weights: Expr, activations: tuple[Expr, ...]) -> Expr:
        size, sign = activations
        pairs = intrinsic(f"int16x{self.halves}", self.multiply_pairs, size, weights ^ sign)
        ones = T.Broadcast(T.int16(1), self.halves)
        return total + intrinsic(f"int32x{self.words}", self.multiply_add, pairs, ones)

    def sum_negatives(self, x: Any, index: Sequence[Expr], depth: int, scratch: Any) -> Expr:
        # vpsadbw sums eight bytes into each int64 lane.
        *outer, first = index
        size, wide = self.register_bytes, self.register_bytes // 8
        whole, rest = divmod(depth, size)
        lanes, zeros = T.Ramp(0, 1, wide), T.Broadcast(T.int8(0), size)
        T.buffer_store(scratch, T.Broadcast(T.int64(0), wide), [lanes])

        def add(part: Expr) -> None:
            sizes = zeros - T.min(part, zeros)
            T.buffer_store(
                scratch, scratch[lanes] + intrinsic(f"int64x{wide}", self.add_bytes, sizes, zeros), [lanes]
            )

        if whole:
            with T.serial(whole) as i:
                add(x[(*outer, T.Ramp(first + size * i, 1, size))])
        parts = [x[(*outer, T.Ramp(first + n, 1, 8))] for n in range(size * whole, depth - 7, 8)]
        if parts:
            add(T.Shuffle([*parts, *[T.Broadcast(T.int8(0), 8)] * (wide - len(parts))], list(range(size))))
        total = scratch[0]
        for n in range(1, wide):
            total = total + scratch[n]
        total = T.Cast("int32", total)
        for n in range(depth - rest % 8, depth):
            total = total + T.max(-T.Cast("int32", x[(*outer, first + n)]), T.int32(0))
        return total
