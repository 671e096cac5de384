"""Activation vectors as products in tiles read them: where they lie, or joined beforehand.

An instruction set whose dot product takes several vectors together (`InstructionSet.joined`) puts their activations in
one register. Where all rows of a large matrix follow, that is done once for all of them, in a buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import InstructionSet

from .kernel import PREPARE_PREFIX

Expr = Any
NEGATIVES_PREFIX = "tile_negatives"


class FirstSum(NamedTuple):
    """An int32 that all sums of a vector start with, and the region of the buffer that holds it."""

    value: Expr
    region: Any


@dataclass(frozen=True)
class Vectors:
    """Some neighbouring vectors of an int8 buffer [count, depth]. outer: for each its index but the last."""

    buffer: Any
    outer: Sequence[tuple[Expr, ...]]

    def __len__(self) -> int:
        return len(self.outer)

    @property
    def rows(self) -> slice:
        """All of them."""
        return slice(self.outer[0][0], self.outer[0][0] + len(self.outer))

    def groups(self, isa: InstructionSet, depth: int) -> tuple[int, int]:
        """Whole groups of activations, and how many activations are left."""
        return divmod(depth, isa.group)

    def whole(self, isa: InstructionSet, depth: int) -> bool:
        """Whether a routine may read them to the end of the last group, or stops where they end."""
        return isa.stops or depth % isa.group == 0

    def elements(self, isa: InstructionSet, depth: int) -> int:
        """Activations that a routine reads of each."""
        del isa
        return depth

    def address(self) -> Expr:
        """Of the only one."""
        [outer] = self.outer
        return T.address_of(self.buffer[(*outer, 0)])

    def first_sum(self, isa: InstructionSet, name: str, number: int, depth: int) -> FirstSum | None:
        """What the sums of vector `number` start with where the instruction set says so, computed in a block of its own
        inside the current one."""
        if not isa.negatives:
            return None
        outer = self.outer[number]
        total = T.sblock_alloc_buffer((1,), "int32")
        scratch = T.sblock_alloc_buffer((isa.words // 2,), "int64")
        with T.sblock(f"{NEGATIVES_PREFIX}_{name}"):
            T.reads(self.buffer[(*outer, slice(0, depth))])
            T.writes(total[0])
            T.buffer_store(total, isa.sum_negatives(self.buffer, (*outer, 0), depth, scratch), [0])
        return FirstSum(total[0], total[0:1])

    def region(self, isa: InstructionSet, group: Expr, elements: Expr) -> list[Any]:
        """What holds `elements` activations of each from a group on."""
        first = group * isa.group
        return [self.buffer[self.rows, first : first + elements]]

    def load(self, isa: InstructionSet, group: Expr, many: int) -> list[list[Expr]]:
        """Operands of `dot` for `many` groups from a group on, for each of the vectors that are taken together."""
        indices = [(*outer, group * isa.group) for outer in self.outer]
        return [
            isa.load_joined(self.buffer, indices[first : first + isa.joined], many)
            for first in range(0, len(indices), isa.joined)
        ]

    def load_rest(self, isa: InstructionSet, group: int, elements: int) -> list[list[Expr]]:
        """The same for the last group, of which there are only some. Copies them inside the current block."""
        rest = T.sblock_alloc_buffer((len(self), isa.group), "int8")
        zeros = T.Broadcast(T.int8(0), isa.group)
        for n, outer in enumerate(self.outer):
            T.buffer_store(rest, zeros, [n, T.Ramp(0, 1, isa.group)])
            for i in range(elements):
                T.buffer_store(rest, self.buffer[(*outer, group * isa.group + i)], [n, i])
        return Vectors(rest, [(n,) for n in range(len(self))]).load(isa, 0, 1)


@dataclass(frozen=True)
class JoinedVectors(Vectors):
    """Vectors that `join` has stored together, `number` of them. outer: only the index of these in the buffer."""

    number: int

    def __len__(self) -> int:
        return self.number

    def groups(self, isa: InstructionSet, depth: int) -> tuple[int, int]:
        return -(-depth // isa.group), 0

    def region(self, isa: InstructionSet, group: Expr, elements: Expr) -> list[Any]:
        [outer] = self.outer
        size = self.buffer.shape[-1]
        return [self.buffer[(*outer, slice(group, group + elements // isa.group), slice(0, size))]]

    def load(self, isa: InstructionSet, group: Expr, many: int) -> list[list[Expr]]:
        [outer] = self.outer
        size = isa.register_bytes
        return [
            [self.buffer[(*outer, group + i, T.Ramp(n * size, 1, size))] for i in range(many)]
            for n in range(self.number // isa.joined)
        ]


def joined_shape(isa: InstructionSet, count: int, depth: int) -> tuple[int, int, int] | None:
    """Shape of the buffer in which `join` stores up to `count` vectors; None: they are read where they lie."""
    if not isa.stored:
        return None
    size = isa.stored // isa.joined * isa.register_bytes
    return count // isa.stored, -(-depth // isa.group), size


def join(isa: InstructionSet, x: Any, joined: Any) -> None:
    """Stores the vectors int8 x [m, depth] in joined, `isa.stored` at a time; leaves out those that are left."""
    m, depth = x.shape[0], int(x.shape[1])
    groups, partial = divmod(depth, isa.group)
    units = m // isa.stored

    def store(unit: Expr, group: Expr, operands: list[list[Expr]]) -> None:
        for n, [register] in enumerate(operands):
            place = T.Ramp(n * isa.register_bytes, 1, isa.register_bytes)
            T.buffer_store(joined, register, [unit, group, place])

    with T.serial(units) as i:
        with T.sblock(PREPARE_PREFIX):
            unit = T.axis.spatial(units, i)
            first = unit * isa.stored
            T.reads(x[first : first + isa.stored, 0:depth])
            T.writes(joined[unit, 0 : joined.shape[1], 0 : joined.shape[2]])
            vectors = Vectors(x, [(first + n,) for n in range(isa.stored)])
            if groups:
                with T.serial(groups) as group:
                    store(unit, group, vectors.load(isa, group, 1))
            if partial:
                store(unit, groups, vectors.load_rest(isa, groups, partial))
