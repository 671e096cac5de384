"""Instruction sets that rescale, look up and normalise the sums of products in vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from .instruction_set import Expr, InstructionSet


class VectorSet(InstructionSet, ABC):
    """Emits TIR with the intrinsics of one instruction set, for vectors of int32 lanes."""

    @abstractmethod
    def scaled_sum(self, terms: Sequence[tuple[Expr, Expr]], shift: int) -> Expr:
        """(a * b + ... + 2**(shift-1)) >> shift of one register of int32 lanes each, in 64 bits, known to fit int32."""

    @abstractmethod
    def interpolate(self, distance: Expr, slope: Expr, value: Expr, shift: int) -> Expr:
        """int16 saturated (slope * distance + (value << shift) + 2**(shift-1)) >> shift of registers of int16 lanes.

        The sum is known to fit int32; shift is at most 14.
        """

    # Statistics of rows (relay_ops/normalize.py).

    @abstractmethod
    def add_pairs(self, total: Expr, values: Expr) -> Expr:
        """A register of int32 lanes: total plus sums of neighbours of int16 lanes."""

    @abstractmethod
    def add_squares(self, total: Expr, values: Expr) -> Expr:
        """A register of int64 lanes: total plus the squares of a register of int16 lanes, in any order."""

    @abstractmethod
    def add_sizes(self, total: Expr, values: Expr) -> Expr:
        """A register of int64 lanes: total plus |values| of a register of int32 lanes, in any order."""

    @abstractmethod
    def scaled_by(self, values: Expr, factor: Expr, shift: Expr) -> Expr:
        """(values * factor + 2**(shift-1)) >> shift of a register of int32 lanes, in 64 bits, known to fit int32.

        factor: int32, shift: int64 in 1..62, both known at run time only and the same for all lanes; the product is
        below 2**62.
        """

    # Tables. An index is an int16 lane of a form of its own: first_index + piece * index_step.
    first_index = 0
    index_step = 1
    # Whether the knots of every level of a search get registers of their own (relay_ops/piece_tables.py).
    levels = False

    @property
    def entries(self) -> int:
        """int16 entries of a table that a register holds."""
        return self.halves

    def table_row(self, pieces: int) -> int:
        """int16 entries of a row of a table as it is stored, whole registers: `load_table` reads no further."""
        return -(-pieces // self.entries) * self.entries

    def load_table(self, table: Any, index: Sequence[Expr], pieces: int) -> list[Expr]:
        """A row of a table, int16 [..., table_row], in registers."""
        return [
            self.load_entries(table, (*index, first))
            for first in range(0, self.table_row(pieces), self.entries)
        ]

    def load_entries(self, table: Any, index: Sequence[Expr]) -> Expr:
        """A register with `entries` entries of a table, from an index on."""
        *outer, first = index
        return table[(*outer, T.Ramp(first, 1, self.entries))]

    @abstractmethod
    def look_up(self, table: Sequence[Expr], index: Expr) -> Expr:
        """int16 lanes of a table, for one register of indices."""
