"""AVX-512 with VNNI: vpdpbusd on 16 rows; tables of 32 entries in a register by vpermw, of 64 by vpermi2w."""

from __future__ import annotations

from collections.abc import Sequence

from .instruction_set import Expr, intrinsic
from .vnni import Vnni


class Avx512Vnni(Vnni):
    name = "avx512-vnni"
    register_bytes = 64
    tiles = (128, 64, 32, 16)
    rows = 128
    block = 128
    unroll = 2
    vectors = 3
    shared = 4
    multiply_add = "llvm.x86.avx512.pmaddw.d.512"
    pack = "llvm.x86.avx512.packssdw.512"

    def look_up(self, table: Sequence[Expr], index: Expr) -> Expr:
        if len(table) == 1:
            return intrinsic("int16x32", "llvm.x86.avx512.permvar.hi.512", table[0], index)
        low, high = table
        return intrinsic("int16x32", "llvm.x86.avx512.vpermi2var.hi.512", low, index, high)


AVX512_VNNI = Avx512Vnni()
