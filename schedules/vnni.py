"""vpdpbusd, the dot product of AVX-VNNI and AVX-512 VNNI: unsigned activations, signed weights, 32-bit sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, intrinsic
from .x86 import X86


class Vnni(X86):
    """Activations become unsigned by adding 128, which is one exclusive or; the weights' sums make up for it."""

    negatives = False
    offset = 128

    def load_activations(self, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        flip = T.Broadcast(T.int8(-128), self.register_bytes)
        return [word ^ flip for word in super().load_activations(x, index, groups)]

    def add_products(self, total: Expr, weights: Expr, activations: Expr) -> Expr:
        name = f"llvm.x86.avx512.vpdpbusd.{8 * self.register_bytes}"
        return intrinsic(f"int32x{self.words}", name, total, activations, weights)
