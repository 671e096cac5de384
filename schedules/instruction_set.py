"""What kernels ask of a SIMD instruction set: int8 dot products in tiles of rows, and lookups in small tables.

A tile is `lanes` rows of each gate, and its products are made in blocks of gates, whose sums fit the registers. Weights
lie in the order in which they are read: for every block all groups of activations, for every group all rows of the
block, for every row the weights of a group.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

Expr = Any


class InstructionSet(ABC):
    """Emits TIR with the intrinsics of one instruction set, for vectors of int32 lanes.

    - name: as in Target.instruction_set. register_bytes: of a vector register.
    - tiles: lanes that a tile may have, the widest first. rows: most rows of all gates of a tile. block: most rows
      whose weights lie together.
    - group: activations that a row multiplies at a time. steps: groups that `dot` takes at a time (it takes one, too).
      unroll: how many of such steps a loop's body has. spread: accumulators per row, which `gather` adds up.
    - joined: activation vectors that `dot` multiplies at a time; their sums lie in the same accumulators, `spread` per
      row, from which `gather` takes those of one vector. stored: how many vectors share the loads of weights where they
      have been joined beforehand (relay_ops/vectors.py); 0: that gains nothing.
    - alone: registers of weights whose sums are kept at a time for one activation vector. vectors: how many vectors
      share the loads of weights where there are several, with sums for `shared` registers each.
    - lowest_weight: of all weights that `dot` multiplies exactly. most_pieces: of tables that `look_up` can hold.
    - offset: what `load_activations` adds to activations; with the weights lie the sums that take it away again.
    - negatives: whether sums start with what `sum_negatives` makes of the activations.
    - routine_registers: of weights that a call of `call_routine` multiplies with one vector; 0: there is no routine.
    - planes: of activations, as `planes_of` makes them; 0: products take activations as they are. cached: bytes of
      a tile's weights that are to stay in the first cache while one vector after another is multiplied; 0: do not care.
    """

    name: str
    register_bytes: int
    tiles: tuple[int, ...]
    rows: int
    block: int = 64
    group: int = 4
    steps: int = 1
    unroll: int = 1
    spread: int = 1
    joined: int = 1
    stored: int = 0
    alone: int = 64
    vectors: int = 4
    shared: int = 4
    lowest_weight: int = -128
    most_pieces: int = 64
    offset: int = 0
    negatives: bool = False
    routine_registers: int = 0
    planes: int = 0
    cached: int = 0

    @property
    def words(self) -> int:
        """int32 lanes of a register."""
        return self.register_bytes // 4

    @property
    def halves(self) -> int:
        """int16 lanes of a register."""
        return self.register_bytes // 2

    def lanes(self, rows: int, gates: int) -> int:
        """Lanes of the tiles that `rows` rows of each gate are cut in: wide, unless that pads more than narrow does."""
        padded = {lanes: -(-rows // lanes) * lanes for lanes in self.tiles if lanes * gates <= self.rows}
        fewest = min(padded.values())
        return next(lanes for lanes in padded if padded[lanes] <= 1.04 * fewest)

    def groups(self, depth: int) -> int:
        """Groups of weights that rows of `depth` have, with those of zeros. Where activations are in planes, which end
        with zeros, too, the loop over them unrolls whatever the depth."""
        groups = -(-depth // self.group)
        return -(-groups // self.unroll) * self.unroll if self.planes else groups

    def for_vectors(self, count: Expr) -> InstructionSet:
        """The set for products of weights with `count` activation vectors at a time, with the same tiles. Where the
        number is not known at build time, there may be several."""
        del count
        return self

    def registers(self, vectors: int) -> int:
        """Most registers of weights whose sums are kept at a time for some vectors."""
        return self.alone if vectors == 1 else self.shared

    def spread_rows(self, parts: int, size: int) -> int:
        """How many parts of `size` bytes a row needs, `parts` or more, so that neighbouring rows do not start at
        addresses that share their places in the first cache."""
        if not self.cached:
            return parts
        while size * parts >= 512 and size * parts % 4096 in (0, 512, 1024, 2048, 3072, 3584):
            parts += 1
        return parts

    @abstractmethod
    def load_activations(self, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        """Operands of `dot` for `groups` groups of int8 [..., depth], from an index on."""

    def planes_of(self, activations: Expr) -> tuple[Expr, ...]:
        """What products take of a register of activations: `planes` registers of int8 lanes."""
        raise NotImplementedError(f"{self.name} takes activations as they are")

    def load_planes(self, planes: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        """`load_activations` where `planes_of` was stored before: int8 [..., planes, depth]."""
        *outer, first = index
        parts = [broadcast_words(self, planes, (*outer, n, first), groups) for n in range(self.planes)]
        return list(zip(*parts, strict=True))

    def load_joined(self, x: Any, indices: Sequence[Sequence[Expr]], groups: int) -> list[Expr]:
        """The same for up to `joined` vectors of int8 [..., depth], each from an index on."""
        [index] = indices
        return self.load_activations(x, index, groups)

    def pack_start(self, values: np.ndarray) -> np.ndarray:
        """[..., rows] -> [..., any size]: what sums start with, as `load_start` reads it."""
        spread = np.zeros((*values.shape, self.spread), values.dtype)
        spread[..., 0] = values
        return spread.reshape(*values.shape[:-1], -1)

    def load_start(self, start: Any, tile: Expr, at: int) -> Expr:
        """What the `words` accumulators from `at` on start with, of int32 [tiles, packed]."""
        return start[tile, T.Ramp(at, 1, self.words)]

    def dot(self, acc: Any, at: int, weights: Sequence[Expr], activations: Sequence[Expr]) -> None:
        """acc[at ...] += weights * activations for one register of weights per group.

        acc: int32 local buffer [accumulators]; at: the first of the `words` accumulators of these rows.
        """
        place = T.Ramp(at, 1, self.words)
        total = acc[place]
        for w, x in zip(weights, activations, strict=True):
            total = self.add_products(total, w, x)
        T.buffer_store(acc, total, [place])

    @abstractmethod
    def add_products(self, total: Expr, weights: Expr, activations: Expr) -> Expr:
        """A register of sums plus the products of a register of weights with activations, as `dot` adds them up."""

    def call_routine(
        self, sums: Expr, weights: Expr, activations: Expr, groups: Expr, start: Expr | None
    ) -> Expr:
        """A call that makes the sums, as `gather` gives them, of `routine_registers` registers of weights with some
        groups of one vector, at least one. Others: addresses of the first of them, with weights of nothing else between
        those of two groups; start: what `load_start` would load (None: 0)."""
        raise NotImplementedError(f"{self.name} has no routine")

    def assembly(self) -> dict[str, str]:
        """Symbols that such calls may need, and the assembly text that defines each."""
        return {}

    def sum_negatives(self, x: Any, index: Sequence[Expr], depth: int, scratch: Any) -> Expr:
        """What sums start with where `negatives` says so, int32: the sum of |x| over the negative ones of `depth`
        elements of int8 x, from an index on. Elsewhere nothing.

        scratch: int64 local [words / 2]. Emits stores to it into the current block.
        """
        del x, index, depth, scratch
        return T.int32(0)

    def gather(self, acc: Sequence[Any], vector: int, at: int) -> Expr:
        """int32 sums of `words` rows of a vector, whose accumulators start at acc[vector / joined][at]."""
        return acc[vector][T.Ramp(at, 1, self.words)]

    @abstractmethod
    def scaled_sum(self, terms: Sequence[tuple[Expr, Expr]], shift: int) -> Expr:
        """(a * b + ... + 2**(shift-1)) >> shift of one register of int32 lanes each, in 64 bits, known to fit int32."""

    @abstractmethod
    def interpolate(self, distance: Expr, slope: Expr, value: Expr, shift: int) -> Expr:
        """int16 saturated (slope * distance + (value << shift) + 2**(shift-1)) >> shift of registers of int16 lanes.

        The sum is known to fit int32; shift is at most 14.
        """

    def prefetch(self, address: Expr) -> None:
        """Emits a prefetch into the second cache, where `cached` asks for parts."""
        del address

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


def broadcast_words(isa: InstructionSet, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
    """Groups of four activations, each in all int32 lanes of a register."""
    *outer, first = index
    words = [T.reinterpret("int32", x[(*outer, T.Ramp(first + 4 * i, 1, 4))]) for i in range(groups)]
    return [T.reinterpret(f"int8x{isa.register_bytes}", T.Broadcast(word, isa.words)) for word in words]


def intrinsic(dtype: str, name: str, *arguments: Expr) -> Expr:
    """A call of an LLVM intrinsic without side effects."""
    return T.call_llvm_pure_intrin(dtype, T.llvm_lookup_intrinsic_id(name), *arguments)


@dataclass(frozen=True)
class _Lowering:
    isa: InstructionSet | None
    shared: frozenset[bytes]


_CURRENT: ContextVar[_Lowering | None] = ContextVar("lowering", default=None)


def current() -> InstructionSet | None:
    """The instruction set that lowering is for; None: scalar code, which a compiler vectorizes or not."""
    lowering = _CURRENT.get()
    return None if lowering is None else lowering.isa


def shared(weights: np.ndarray) -> bool:
    """Whether weights keep the order of the program because something else reads them, too."""
    lowering = _CURRENT.get()
    return lowering is not None and digest(weights) in lowering.shared


def digest(weights: np.ndarray) -> bytes:
    """What `lowering_for` knows weights by."""
    return hashlib.sha256(weights.tobytes()).digest()


@contextmanager
def lowering_for(chosen: InstructionSet | None, shared: Iterable[np.ndarray] = ()) -> Iterator[None]:
    """Lowers everything inside for an instruction set. shared: weights that are read in the order of the program."""
    token = _CURRENT.set(_Lowering(chosen, frozenset(digest(w) for w in shared)))
    try:
        yield
    finally:
        _CURRENT.reset(token)
