"""NEON of AArch64 with the matrix instructions for int8 (Cortex-A510, A710, X2, Neoverse N2, V1 and later): smmla.

smmla multiplies two activation vectors by two rows, eight columns at a time: 32 products. Weights lie as everywhere,
with groups of eight, so that a register holds a group of two rows. For a vector that is left alone the second one is
zeros: 16 products, as many as sdot makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from .instruction_set import Expr, InstructionSet, intrinsic
from .neon_dotprod import NeonDotprod


class NeonI8mm(NeonDotprod):
    """sdot for one vector, smmla for several."""

    name = "neon-i8mm"

    def for_vectors(self, count: Expr) -> InstructionSet:
        return self if _is_one(count) else _SMMLA


class _Smmla(NeonDotprod):
    """A register of sums: two rows of the first vector, the same rows of the second."""

    name = "neon-i8mm"
    block = 32
    group = 8
    steps = 2
    unroll = 2
    spread = 2
    joined = 2
    stored = 8
    vectors = 4

    def registers(self, vectors: int, groups: int) -> int:
        del groups
        # With 16 registers of sums others are left for activations and weights.
        return max(1, 16 // (-(-vectors // 2)))

    def load_activations(self, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        *outer, first = index
        zeros = T.Broadcast(T.int8(0), 8)
        eights = [x[(*outer, T.Ramp(first + 8 * i, 1, 8))] for i in range(groups)]
        return [T.vectorcombine("int8x16", eight, zeros) for eight in eights]

    def load_joined(self, x: Any, indices: Sequence[Sequence[Expr]], groups: int) -> list[Expr]:
        if len(indices) == 1:
            return self.load_activations(x, indices[0], groups)
        found: list[Expr] = []
        for first in range(0, groups - 1, 2):
            # Two loads of two groups and two zips, where loads of eight bytes would be four.
            pair = [x[(*outer, T.Ramp(start + 8 * first, 1, 16))] for *outer, start in indices]
            words = [T.reinterpret("int64x2", sixteen) for sixteen in pair]
            found += [T.reinterpret("int8x16", T.Shuffle(words, [half, 2 + half])) for half in (0, 1)]
        if groups % 2:
            last = [x[(*outer, T.Ramp(start + 8 * (groups - 1), 1, 8))] for *outer, start in indices]
            found.append(T.vectorcombine("int8x16", *last))
        return found

    def pack_start(self, values: np.ndarray) -> np.ndarray:
        return values

    def load_start(self, start: Any, tile: Expr, at: int) -> Expr:
        four, lane = divmod(at // 2, 4)
        rows = start[tile, T.Ramp(4 * four, 1, 4)]
        return T.Shuffle([rows], [lane, lane + 1] * 2)

    def add_products(self, total: Expr, weights: Expr, activations: Expr) -> Expr:
        return intrinsic("int32x4", "llvm.aarch64.neon.smmla.v4i32.v16i8", total, activations, weights)

    def gather(self, acc: Sequence[Any], vector: int, at: int) -> Expr:
        row, half = divmod(vector, 2)
        low, high = (acc[row][T.Ramp(at + 4 * n, 1, 4)] for n in range(2))
        return T.Shuffle([low, high], [2 * half + n for n in (0, 1, 4, 5)])


def _is_one(count: Expr) -> bool:
    return isinstance(count, int | tirx.IntImm) and int(count) == 1


_SMMLA = _Smmla()
NEON_I8MM = NeonI8mm()
