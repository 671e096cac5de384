"""NEON of 32-bit ARM: vmull, vmlal and vpadal as in neon.py, by a routine (armv7_dot.py) where blocks are as wide as it
wants them; tables by vtbl, with 8 bytes of indices at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from . import armv7_dot
from .instruction_set import Expr, intrinsic
from .neon import Neon


class Armv7Neon(Neon):
    name = "armv7-neon"
    vectors = 1
    alone = armv7_dot.ROWS
    routine_rows = armv7_dot.ROWS
    planes = 1
    unroll = 4
    shared_unroll = 0
    most_pieces = 32
    levels = True

    def in_planes(self, depth: int) -> bool:
        """A copy with zeros behind it, where the routine would read on."""
        return depth % self.group != 0

    def groups(self, depth: int) -> int:
        return -(-depth // self.group)

    def load_planes(self, planes: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        *outer, first = index
        return self.load_activations(planes, (*outer, 0, first), groups)

    def planes_of(self, activations: Expr) -> tuple[Expr, ...]:
        return (activations,)

    def call_routine(
        self, sums: Expr, weights: Expr, activations: Expr, depth: int, blocks: int, start: Expr | None
    ) -> Expr:
        arguments = (sums, weights, activations, T.int32(depth // self.group), T.int32(blocks))
        if start is None:
            return T.call_extern("int32", armv7_dot.FROM_0, *arguments)
        return T.call_extern("int32", armv7_dot.FROM_START, *arguments, start)

    def assembly(self) -> dict[str, str]:
        return {name: armv7_dot.assembly(name) for name in (armv7_dot.FROM_START, armv7_dot.FROM_0)}

    def add_pairs(self, total: Expr, products: Expr) -> Expr:
        return intrinsic("int32x4", "llvm.arm.neon.vpadals.v4i32.v8i16", total, products)

    def add_words(self, total: Expr, values: Expr) -> Expr:
        return intrinsic("int64x2", "llvm.arm.neon.vpadalu.v2i64.v4i32", total, values)

    def neighbours(self, low: Expr, high: Expr) -> Expr:
        halves = [
            intrinsic(
                "int32x2",
                "llvm.arm.neon.vpadd.v2i32",
                T.vectorlow("int32x2", value),
                T.vectorhigh("int32x2", value),
            )
            for value in (low, high)
        ]
        return T.vectorcombine("int32x4", *halves)

    def product(self, a: Expr, b: Expr) -> Expr:
        return intrinsic("int64x2", "llvm.arm.neon.vmulls.v2i64", a, b)

    def rounded(self, value: Expr, shift: int | Expr) -> Expr:
        places = T.Broadcast(T.int64(-shift) if isinstance(shift, int) else T.int64(0) - shift, 2)
        return intrinsic("int64x2", "llvm.arm.neon.vrshifts.v2i64", value, places)

    def narrowed(self, value: Expr, shift: int) -> Expr:
        if shift == 0:
            return intrinsic("int16x4", "llvm.arm.neon.vqmovns.v4i16", value)
        places = T.Broadcast(T.int32(-shift), 4)
        return intrinsic("int16x4", "llvm.arm.neon.vqrshiftns.v4i16", value, places)

    def look_up(self, table: Sequence[Expr], index: Expr) -> Expr:
        entries = [
            part("int8x8", T.reinterpret("int8x16", row))
            for row in table
            for part in (T.vectorlow, T.vectorhigh)
        ]
        halves = []
        for part in (T.vectorlow, T.vectorhigh):
            places = part("int8x8", T.reinterpret("int8x16", index))
            found = None
            for first in range(0, len(entries), 4):
                some = entries[first : first + 4]
                # Indices beyond a part's bytes, negative ones among them, give 0.
                here = places - T.int8(8 * first) if first else places
                value = intrinsic("int8x8", f"llvm.arm.neon.vtbl{len(some)}", *some, here)
                found = value if found is None else found | value
            halves.append(found)
        return T.reinterpret("int16x8", T.vectorcombine("int8x16", *halves))


ARMV7_NEON = Armv7Neon()
