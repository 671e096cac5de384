"""AVX-512 (F, BW, DQ, VL) without VNNI: Skylake-X and its Xeons; tables of 32 entries in a register by vpermw, of 64
by vpermi2w."""

from __future__ import annotations

from collections.abc import Sequence

from .instruction_set import Expr, intrinsic
from .sign_products import SignProducts
from .x86 import X86


class Avx512Registers(X86):
    """What does not depend on how products are made."""

    register_bytes = 64
    tiles = (128, 64, 32, 16)
    rows = 128
    block = 128
    unroll = 2
    multiply_add = "llvm.x86.avx512.pmaddw.d.512"
    pack = "llvm.x86.avx512.packssdw.512"

    def look_up(self, table: Sequence[Expr], index: Expr) -> Expr:
        if len(table) == 1:
            return intrinsic("int16x32", "llvm.x86.avx512.permvar.hi.512", table[0], index)
        low, high = table
        return intrinsic("int16x32", "llvm.x86.avx512.vpermi2var.hi.512", low, index, high)


class Avx512(SignProducts, Avx512Registers):
    name = "avx512"
    vectors = 4
    shared = 4
    multiply_pairs = "llvm.x86.avx512.pmaddubs.w.512"
    add_bytes = "llvm.x86.avx512.psad.bw.512"


AVX512 = Avx512()
