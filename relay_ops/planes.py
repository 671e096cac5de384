"""Activation vectors in planes: what products make of activations before they multiply, stored once for all rows.

x86 multiplies unsigned by signed bytes, so that AVX2 takes |x| and the signs of x, VNNI takes x + 128
(`InstructionSet.planes_of`). Of a vector that many rows read, that is made beforehand, in a buffer beside the call's
results, together with what sums of the vector start with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import InstructionSet

from .kernel import PREPARE_PREFIX, Kernel
from .lstm_general_layout import Shapes
from .vectors import FirstSum, Vectors

Expr = Any


@dataclass(frozen=True)
class PlaneVectors(Vectors):
    """Vectors whose planes lie in the buffer int8 or int16 [count, planes, depth]. starts: int32 [count], or None."""

    starts: Any

    def groups(self, isa: InstructionSet, depth: int) -> tuple[int, int]:
        return isa.groups(depth), 0

    def whole(self, isa: InstructionSet, depth: int) -> bool:
        return True

    def elements(self, isa: InstructionSet, depth: int) -> int:
        return isa.groups(depth) * isa.group

    def address(self) -> Expr:
        [outer] = self.outer
        return T.address_of(self.buffer[(*outer, 0, 0)])

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
        if isa.in_planes(depth):
            size = isa.register_bytes
            wide = isa.spread_rows(-(-depth // size), size) * size
            self._shapes.append(((count, isa.planes, wide), f"int{isa.plane_bits}"))
            if isa.negatives:
                self._shapes.append(((count,), "int32"))
        self._buffers: list[Any] = []

    @property
    def types(self) -> list[Any]:
        """Types of the scratch buffers that they need."""
        return [relax.TensorType(list(shape), dtype) for shape, dtype in self._shapes]

    def shapes(self, suffix: str = "") -> Shapes:
        """Shape and dtype of the scratch buffers by name."""
        return dict(zip((f"planes{suffix}", f"starts{suffix}"), self._shapes, strict=False))

    def open(self, k: Kernel, suffix: str = "") -> None:
        """Declares the scratch buffers, the next parameters of a kernel."""
        self._buffers = [k.arg(name, *shape) for name, shape in self.shapes(suffix).items()]

    def take(self, named: Mapping[str, Any], suffix: str = "") -> None:
        """Takes the scratch buffers from what has been declared by the names of `shapes`."""
        self._buffers = [named[name] for name in self.shapes(suffix)]

    def prepare(self, x: Any) -> None:
        """Makes the planes of all vectors int8 x [count, depth] in the current block."""
        if not self._buffers:
            return
        with T.serial(x.shape[0]) as i:
            with T.sblock(PREPARE_PREFIX):
                row = T.axis.spatial(x.shape[0], i)
                self._prepare(x, row, row)

    def prepare_one(self, x: Any, row: Expr) -> None:
        """Makes the planes of one vector of int8 x [..., depth] in the current block, for the first place."""
        with T.sblock(PREPARE_PREFIX):
            self._prepare(x, row, T.int32(0))

    def _prepare(self, x: Any, row: Expr, place: Expr) -> None:
        isa, planes = self.isa, self._buffers[0]
        size = isa.register_bytes
        whole, rest = divmod(self.depth, size)

        def store(values: Expr, first: Expr) -> None:
            for n, plane in enumerate(isa.planes_of(values)):
                T.buffer_store(planes, plane, [place, n, T.Ramp(first, 1, size)])

        T.reads(x[row, 0 : self.depth])
        T.writes(*(b[(place, *(slice(0, d) for d in b.shape[1:]))] for b in self._buffers))
        first = (place, *(0 for _ in planes.shape[1:]))
        call = isa.call_planes(T.address_of(planes[first]), T.address_of(x[row, 0]), self.depth)
        if call is not None:
            T.evaluate(call)
            return
        if whole:
            with T.serial(whole) as n:
                store(x[row, T.Ramp(n * size, 1, size)], n * size)
        if rest:
            last = T.sblock_alloc_buffer((size,), "int8")
            T.buffer_store(last, T.Broadcast(T.int8(0), size), [T.Ramp(0, 1, size)])
            with T.serial(rest) as n:
                T.buffer_store(last, x[row, whole * size + n], [n])
            store(last[T.Ramp(0, 1, size)], whole * size)
        if isa.negatives:
            scratch = T.sblock_alloc_buffer((isa.words // 2,), "int64")
            total = isa.sum_negatives(x, (row, 0), self.depth, scratch)
            T.buffer_store(self._buffers[1], total, [place])

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
