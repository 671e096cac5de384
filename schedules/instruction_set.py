"""What kernels ask of an instruction set: int8 dot products in tiles of rows. What is done with their sums, a set may
do in vectors, too (vector_set.py).

A tile is `lanes` rows of each gate, and its products are made in blocks of gates, whose sums fit the registers. Weights
lie in the order in which they are read: for every block all groups of activations, for every group all rows of the
block, for every row the weights of a group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

Expr = Any


class InstructionSet:
    """Emits TIR with the intrinsics of one instruction set, for vectors of int32 lanes.

    - name: as in Target.instruction_set. register_bytes: of a vector register.
    - tiles: lanes that a tile may have, the widest first. rows: most rows of all gates of a tile. block: most rows
      whose weights lie together.
    - group: activations that a row multiplies at a time. steps: groups that `dot` takes at a time (it takes one, too).
      unroll: how many of such steps a loop's body has; shared_unroll: where several vectors share weights, 0: as many.
      spread: accumulators per row, which `gather` adds up.
    - joined: activation vectors that `dot` multiplies at a time; their sums lie in the same accumulators, `spread` per
      row, from which `gather` takes those of one vector. stored: how many vectors share the loads of weights where they
      have been joined beforehand (relay_ops/vectors.py); 0: that gains nothing.
    - alone: registers of weights whose sums are kept at a time for one activation vector; 0, of `unroll`, too: as
      `registers` and `unrolling` find it. vectors: how many vectors
      share the loads of weights where there are several, with sums for `shared` registers each.
    - lowest_weight: of all weights that `dot` multiplies exactly. most_pieces: of tables that can be looked up.
    - offset: what `load_activations` adds to activations; with the weights lie the sums that take it away again.
    - negatives: whether sums start with what `sum_negatives` makes of the activations.
    - routine_rows: of a block whose sums `call_routine` makes; 0: there is no routine. stops: whether it reads no
      activation behind the last one; else to the end of the last group.
    - planes: of activations, as `planes_of` makes them, with `plane_bits` each; 0: products take activations as they
      are. cached: bytes of a tile's weights that are to stay in the first cache while one vector after another is
      multiplied; 0: do not care.
    - ahead: whether several time steps' products with x are made together, sharing weights; else each within its step.
    - chosen_lanes: lanes of all tiles, whatever `lanes` would choose; 0: that.
    - fetch_ahead: products with one vector prefetch weights this many groups before they load them; 0: never. fetches:
      whether `prefetch` does anything.
    - row_unroll: where the rows of a tile are worked on one after the other, how many of them a loop's body has.
    """

    name: str
    register_bytes: int
    tiles: tuple[int, ...]
    rows: int
    block: int = 64
    group: int = 4
    steps: int = 1
    unroll: int = 1
    shared_unroll: int = 0
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
    routine_rows: int = 0
    stops: bool = False
    planes: int = 0
    plane_bits: int = 8
    cached: int = 0
    ahead: bool = True
    chosen_lanes: int = 0
    row_unroll: int = 1
    fetch_ahead: int = 0
    fetches: bool = False

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
        if self.chosen_lanes:
            return self.chosen_lanes
        padded = {lanes: -(-rows // lanes) * lanes for lanes in self.tiles if lanes * gates <= self.rows}
        fewest = min(padded.values())
        return next(lanes for lanes in padded if padded[lanes] <= 1.04 * fewest)

    def groups(self, depth: int) -> int:
        """Groups of weights that rows of `depth` have, with those of zeros. Where activations are in planes, which end
        with zeros, too, the loop over them unrolls whatever the depth."""
        groups = -(-depth // self.group)
        return -(-groups // self.unroll) * self.unroll if self.in_planes(depth) else groups

    def for_vectors(self, count: Expr) -> InstructionSet:
        """The set for products of weights with `count` activation vectors at a time, with the same tiles. Where the
        number is not known at build time, there may be several."""
        del count
        return self

    def registers(self, vectors: int, groups: int) -> int:
        """Most registers of weights whose sums are kept at a time for some vectors of so many groups."""
        del groups
        return self.alone if vectors == 1 else self.shared

    def unrolling(self, vectors: int, groups: int) -> int:
        """Steps in the body of a loop over a product's depth, for some vectors of so many groups."""
        del groups
        return self.unroll if vectors == 1 else self.shared_unroll or self.unroll

    def spread_rows(self, parts: int, size: int) -> int:
        """How many parts of `size` bytes a row needs, `parts` or more, so that neighbouring rows do not start at
        addresses that share their places in the first cache."""
        if not self.cached:
            return parts
        while size * parts >= 512 and size * parts % 4096 in (0, 512, 1024, 2048, 3072, 3584):
            parts += 1
        return parts

    def in_planes(self, depth: int) -> bool:
        """Whether products of this depth take activations in planes."""
        del depth
        return self.planes > 0

    def load_activations(self, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        """Operands of `dot` for `groups` groups of int8 [..., depth], from an index on."""
        raise NotImplementedError(f"{self.name} has a routine for products")

    def planes_of(self, activations: Expr) -> tuple[Expr, ...]:
        """What products take of a register of activations: `planes` registers of int8 lanes."""
        raise NotImplementedError(f"{self.name} takes activations as they are")

    def call_planes(self, planes: Expr, activations: Expr, depth: int) -> Expr | None:
        """A call that makes all planes of a vector, with zeros behind them, of both addresses; None: `planes_of`."""
        del planes, activations, depth
        return None

    def load_planes(self, planes: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
        """`load_activations` where `planes_of` was stored before: int8 [..., planes, depth]."""
        *outer, first = index
        parts = [broadcast_words(self, planes, (*outer, n, first), groups) for n in range(self.planes)]
        return list(zip(*parts, strict=True))

    def load_joined(self, x: Any, indices: Sequence[Sequence[Expr]], groups: int) -> list[Expr]:
        """The same for up to `joined` vectors of int8 [..., depth], each from an index on."""
        [index] = indices
        return self.load_activations(x, index, groups)

    def pack_block(self, rows: np.ndarray) -> np.ndarray:
        """int8 [..., rows, group] -> [..., rows * group]: the weights that a block multiplies a group with, as they lie
        in memory."""
        return rows.reshape(*rows.shape[:-2], -1)

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

    def add_products(self, total: Expr, weights: Expr, activations: Expr) -> Expr:
        """A register of sums plus the products of a register of weights with activations, as `dot` adds them up."""
        raise NotImplementedError(f"{self.name} has a routine for products")

    def call_routine(
        self, sums: Expr, weights: Expr, activations: Expr, depth: int, blocks: int, start: Expr | None
    ) -> Expr:
        """A call that makes the sums, as `gather` gives them, of some blocks of `routine_rows` rows with one vector of
        `depth` activations, at least one. Others: addresses of the first of them; start: what `pack_start` made of
        these blocks (None: 0)."""
        raise NotImplementedError(f"{self.name} has no routine")

    def assembly(self) -> dict[str, str]:
        """Symbols that such calls may need, and the assembly text that defines each."""
        return {}

    def c_routines(self) -> dict[str, str]:
        """Symbols that calls may need, and the C99 text that defines each, with or without intrinsics."""
        return {}

    def llvm(self) -> str:
        """Functions in LLVM's language that expressions call; they are put in the place of these calls."""
        return ""

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

    def prefetch(self, address: Expr, cache: int) -> None:
        """Emits a prefetch of a line into the first or second cache, where there is such an instruction."""
        if not self.fetches:
            return
        read, locality, data = T.int32(0), T.int32(4 - cache), T.int32(1)
        number = T.llvm_lookup_intrinsic_id("llvm.prefetch.p0")
        T.evaluate(T.call_llvm_intrin("void", number, address, read, locality, data))


def broadcast_words(isa: InstructionSet, x: Any, index: Sequence[Expr], groups: int) -> list[Expr]:
    """Groups of four activations, each in all int32 lanes of a register."""
    *outer, first = index
    words = [T.reinterpret("int32", x[(*outer, T.Ramp(first + 4 * i, 1, 4))]) for i in range(groups)]
    return [T.reinterpret(f"int8x{isa.register_bytes}", T.Broadcast(word, isa.words)) for word in words]


def intrinsic(dtype: str, name: str, *arguments: Expr) -> Expr:
    """A call of an LLVM intrinsic without side effects."""
    return T.call_llvm_pure_intrin(dtype, T.llvm_lookup_intrinsic_id(name), *arguments)


@dataclass(frozen=True)
class Chosen:
    """How an operator's kernels are made where that is not the default: an instruction set (None: scalar code), and a
    word about where the choice comes from, for the report. inner_unroll: of loops that are left to LLVM (leave.py)."""

    isa: InstructionSet | None
    why: str
    inner_unroll: int = 1


Choose = Callable[[Any, InstructionSet | None], Chosen | None]


@dataclass(frozen=True)
class _Lowering:
    isa: InstructionSet | None
    shared: frozenset[bytes]
    stream: bool = False
    choose: Choose | None = None
    why: str = ""
    inner_unroll: int = 1


_CURRENT: ContextVar[_Lowering | None] = ContextVar("lowering", default=None)


def current() -> InstructionSet | None:
    """The instruction set that lowering is for; None: scalar code, which a compiler vectorizes or not."""
    lowering = _CURRENT.get()
    return None if lowering is None else lowering.isa


def shared(weights: np.ndarray) -> bool:
    """Whether weights keep the order of the program because something else reads them, too."""
    lowering = _CURRENT.get()
    return lowering is not None and digest(weights) in lowering.shared


def streamed() -> bool:
    """Whether the weights of products are fetched, a tile at a time, before a routine reads them."""
    lowering = _CURRENT.get()
    return lowering is not None and lowering.stream


def inner_unroll() -> int:
    """How far the innermost loops of kernels are unrolled that are left to LLVM."""
    lowering = _CURRENT.get()
    return 1 if lowering is None else lowering.inner_unroll


def why_chosen() -> str:
    """Where the choices for the operator that is being lowered come from; empty: they are the default."""
    lowering = _CURRENT.get()
    return "" if lowering is None else lowering.why


def digest(weights: np.ndarray) -> bytes:
    """What `lowering_for` knows weights by."""
    return hashlib.sha256(weights.tobytes()).digest()


@contextmanager
def lowering_for(
    chosen: InstructionSet | None,
    shared: Iterable[np.ndarray] = (),
    stream: bool = False,
    choose: Choose | None = None,
) -> Iterator[None]:
    """Lowers everything inside for an instruction set. shared: weights that are read in the order of the program;
    stream: see `streamed`; choose: gets every call of an operator and the instruction set."""
    token = _CURRENT.set(_Lowering(chosen, frozenset(digest(w) for w in shared), stream, choose))
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def lowering_of(call: Any) -> Iterator[None]:
    """Lowers one call of an operator, with what was chosen for it."""
    lowering = _CURRENT.get()
    found = None if lowering is None or lowering.choose is None else lowering.choose(call, lowering.isa)
    if lowering is None or found is None:
        yield
        return
    token = _CURRENT.set(replace(lowering, isa=found.isa, why=found.why, inner_unroll=found.inner_unroll))
    try:
        yield
    finally:
        _CURRENT.reset(token)
