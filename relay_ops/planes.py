"""Activation vectors in planes: what products make of activations before they multiply, stored once for all rows.

x86 multiplies unsigned by signed bytes, so that AVX2 takes |x| and the signs of x, VNNI takes x + 128
(`InstructionSet.planes_of`). Of a vector that many rows read, that is made beforehand, in a buffer beside the call's
results, together with what sums of the vector start with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import InstructionSet

from .kernel import PREPARE_PREFIX, Kernel
from .vectors import FirstSum, Vectors

Expr = Any


@dataclass(frozen=True)
class PlaneVectors(Vectors):
    """Vectors whose planes lie in the buffer int8 [count, planes, depth]. starts: int32 [count], or None."""

    starts: Any

    def groups(self, isa: InstructionSet, depth: int) -> tuple[int, int]:
        return isa.groups(depth), 0

    def first_sum(self, isa: InstructionSet, name: str, number: int, depth: int) -> FirstSum | None:
        if self.starts is None:
            return None
        [row] = self.outer[number]
        return FirstSum(self.starts[row], self.starts[row : row + 1])

    def region(self, isa: InstructionSet, group: Expr, elements: Expr) -> list[Any]:
        first = group * isa.group
        return [self.buffer[self.rows, 0 : isa.planes, first : first + elements]]

    def load(self, isa: InstructionSet, group: Expr, many: int) -> list[list[Expr]]:
        return [isa.load_planes(self.buffer, (*outer, group * isa.group), many) for outer in self.outer]


class Planes:
    """The planes of up to `count` vectors of a kernel, where its instruction set has any; else the vectors as they
    are."""

    def __init__(self, isa: InstructionSet, count: int, depth: int) -> None:
        self.isa, self.depth = isa, depth
        self._shapes: list[tuple[tuple[int, ...], str]] = []
        if isa.planes:
            size = isa.register_bytes
            wide = isa.spread_rows(-(-depth // size), size) * size
            self._shapes.append(((count, isa.planes, wide), "int8"))
            if isa.negatives:
                self._shapes.append(((count,), "int32"))
        self._buffers: list[Any] = []

    @property
    def types(self) -> list[Any]:
        """Types of the scratch buffers that they need."""
        return [relax.TensorType(list(shape), dtype) for shape, dtype in self._shapes]

    def open(self, k: Kernel, suffix: str = "") -> None:
        """Declares the scratch buffers, the next parameters of a kernel."""
        names = (f"planes{suffix}", f"starts{suffix}")
        self._buffers = [k.arg(n, *shape) for n, shape in zip(names, self._shapes, strict=False)]

    def prepare(self, x: Any) -> None:
        """Makes the planes of all vectors int8 x [count, depth] in the current block."""
        if not self._buffers:
            return
        isa, planes = self.isa, self._buffers[0]
        size = isa.register_bytes
        whole, rest = divmod(self.depth, size)

        def store(row: Expr, values: Expr, first: Expr) -> None:
            for n, plane in enumerate(isa.planes_of(values)):
                T.buffer_store(planes, plane, [row, n, T.Ramp(first, 1, size)])

        with T.serial(x.shape[0]) as i:
            with T.sblock(PREPARE_PREFIX):
                row = T.axis.spatial(x.shape[0], i)
                T.reads(x[row, 0 : self.depth])
                T.writes(*(b[(row, *(slice(0, d) for d in b.shape[1:]))] for b in self._buffers))
                if whole:
                    with T.serial(whole) as n:
                        store(row, x[row, T.Ramp(n * size, 1, size)], n * size)
                if rest:
                    last = T.sblock_alloc_buffer((size,), "int8")
                    T.buffer_store(last, T.Broadcast(T.int8(0), size), [T.Ramp(0, 1, size)])
                    with T.serial(rest) as n:
                        T.buffer_store(last, x[row, whole * size + n], [n])
                    store(row, last[T.Ramp(0, 1, size)], whole * size)
                if isa.negatives:
                    scratch = T.sblock_alloc_buffer((isa.words // 2,), "int64")
                    total = isa.sum_negatives(x, (row, 0), self.depth, scratch)
                    T.buffer_store(self._buffers[1], total, [row])

    def vectors(self, x: Any, rows: Sequence[Expr]) -> Vectors:
        """Some of the vectors as products take them."""
        outer = [(row,) for row in rows]
        if not self._buffers:
            return Vectors(x, outer)
        return PlaneVectors(self._buffers[0], outer, self._buffers[1] if len(self._buffers) > 1 else None)

    def regions(self, x: Any, rows: slice) -> list[Any]:
        """What products with these vectors read of them."""
        if not self._buffers:
            return [x[rows, 0 : self.depth]]
        return [b[(rows, *(slice(0, d) for d in b.shape[1:]))] for b in self._buffers]
