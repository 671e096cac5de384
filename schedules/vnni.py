"""vpdpbusd, the dot product of AVX-VNNI and AVX-512 VNNI: unsigned activations, signed weights, 32-bit sums."""

from __future__ import annotations

from tvm.tirx.script import builder as T

from .instruction_set import Expr, intrinsic
from .x86 import X86


class Vnni(X86):
    """Activations become unsigned by adding 128, which is one exclusive or; the weights' sums make up for it."""

    negatives = False
    planes = 1
    offset = 128
    cached = 1 << 14

    def planes_of(self, activations: Expr) -> tuple[Expr, ...]:
        return (activations ^ T.Broadcast(T.int8(-128), self.register_bytes),)

    def add_products(self, total: Expr, weights: Expr, activations: tuple[Expr, ...]) -> Expr:
        name = f"llvm.x86.avx512.vpdpbusd.{8 * self.register_bytes}"
        return intrinsic(f"int32x{self.words}", name, total, *activations, weights)
