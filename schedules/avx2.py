"""AVX2: products of |activation| (sign_products.py); tables by vpshufb (Haswell, Zen and later)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, intrinsic
from .sign_products import SignProducts


class Avx2(SignProducts):
    name = "avx2"
    register_bytes = 32
    tiles = (64, 32, 16, 8)
    rows = 64
    unroll = 2
    vectors = 2
    shared = 4
    first_index = 0x0100
    index_step = 0x0202
    levels = True
    multiply_add = "llvm.x86.avx2.pmadd.wd"
    multiply_pairs = "llvm.x86.avx2.pmadd.ub.sw"
    add_bytes = "llvm.x86.avx2.psad.bw"
    pack = "llvm.x86.avx2.packssdw"

    @property
    def entries(self) -> int:
        return 8  # vpshufb sees 16 bytes, so that a register holds eight entries, twice

    def load_entries(self, table: Any, index: Sequence[Expr]) -> Expr:
        part = super().load_entries(table, index)
        return T.Shuffle([part, part], [*range(self.entries)] * 2)

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
