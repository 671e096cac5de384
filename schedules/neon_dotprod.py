"""NEON of AArch64 with the dot-product instructions (Cortex-A55, A75, A76 and later): sdot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, broadcast_words, intrinsic
from .neon import Neon


class NeonDotprod(Neon):
    name = "neon-dotprod"
    tiles = (64, 32, 16, 8, 4)
    rows = 64
    block = 64
    group = 4
    steps = 4
    spread = 1
    alone = 64
    unroll = 1
    shared_unroll = 0
    lowest_weight = -128

    def load_activations(self, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        if groups != 4:
            return broadcast_words(self, x, index, groups)
        # One load for all: sdot takes a lane of a register as the operand that its lanes share.
        *outer, first = index
        four = T.reinterpret("int32x4", x[(*outer, T.Ramp(first, 1, 16))])
        return [T.reinterpret("int8x16", T.Broadcast(T.Shuffle([four], [i]), 4)) for i in range(4)]

    def add_products(self, total: Expr, weights: Expr, activations: Expr) -> Expr:
        return intrinsic("int32x4", "llvm.aarch64.neon.sdot.v4i32.v16i8", total, weights, activations)

    def gather(self, acc: Sequence[Any], vector: int, at: int) -> Expr:
        return acc[vector][T.Ramp(at, 1, 4)]


NEON_DOTPROD = NeonDotprod()
