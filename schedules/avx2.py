"""AVX2: vpmaddubsw of |activation| and adjusted weights, vpmaddwd to int32; tables by vpshufb.

vpmaddubsw wants one factor unsigned. Where x is negative, x w = |x| (~w + 1), and ~w is an exclusive or with the sign
of x: the products of |x| and w ^ sign(x) are x w but for a sum of |x| over negative x, which is the same for all rows.
Factors of at most 128 and from -128 to 127 give pairs from -32768 to 32512: nothing saturates. vpsignb would need no
correction, but shares its two execution ports with the multiplications.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, intrinsic
from .x86 import X86


class Avx2(X86):
    name = "avx2"
    register_bytes = 32
    tiles = (64, 32, 16, 8)
    rows = 64
    unroll = 2
    vectors = 2
    shared = 4
    negatives = True
    first_index = 0x0100
    index_step = 0x0202
    multiply_add = "llvm.x86.avx2.pmadd.wd"
    pack = "llvm.x86.avx2.packssdw"

    def add_products(self, total: Expr, weights: Expr, activations: Expr) -> Expr:
        size = intrinsic("int8x32", "llvm.abs.v32i8", activations, T.bool(False))
        sign = T.shift_right(activations, T.Broadcast(T.int8(7), 32))
        pairs = intrinsic("int16x16", "llvm.x86.avx2.pmadd.ub.sw", size, weights ^ sign)
        return total + intrinsic("int32x8", self.multiply_add, pairs, T.Broadcast(T.int16(1), 16))

    def sum_negatives(self, x: Any, index: Sequence[Expr], depth: int, scratch: Any) -> Expr:
        # vpsadbw sums eight bytes into each int64 lane.
        *outer, first = index
        whole, rest = divmod(depth, 32)
        lanes, zeros = T.Ramp(0, 1, 4), T.Broadcast(T.int8(0), 32)
        T.buffer_store(scratch, T.Broadcast(T.int64(0), 4), [lanes])

        def add(part: Expr) -> None:
            sizes = zeros - T.min(part, zeros)
            T.buffer_store(
                scratch, scratch[lanes] + intrinsic("int64x4", "llvm.x86.avx2.psad.bw", sizes, zeros), [lanes]
            )

        if whole:
            with T.serial(whole) as i:
                add(x[(*outer, T.Ramp(first + 32 * i, 1, 32))])
        parts = [x[(*outer, T.Ramp(first + n, 1, 8))] for n in range(32 * whole, depth - 7, 8)]
        if parts:
            add(T.Shuffle([*parts, *[T.Broadcast(T.int8(0), 8)] * (4 - len(parts))], list(range(32))))
        total = scratch[0] + scratch[1] + scratch[2] + scratch[3]
        total = T.Cast("int32", total)
        for n in range(depth - rest % 8, depth):
            total = total + T.max(-T.Cast("int32", x[(*outer, first + n)]), T.int32(0))
        return total

    @property
    def entries(self) -> int:
        return 8  # vpshufb sees 16 bytes, so that a register holds eight entries, twice

    def load_table(self, table: Any, index: Sequence[Expr], pieces: int) -> list[Expr]:
        parts = super().load_table(table, index, pieces)
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


AVX2 = Avx2()
