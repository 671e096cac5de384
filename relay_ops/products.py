"""Sums of products in tiles: a tile's weights times some activation vectors, in as many accumulators as fit registers.

Accumulators are local buffers, one for each vector (or those that are joined), since TVM keeps no larger ones on the
stack; LLVM keeps them in registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import InstructionSet, streamed

from .tiles import BLOCK_PREFIX, LOOP_PREFIX, UNROLL_ATTR, Tiling
from .vectors import Vectors

Expr = Any
LINE_BYTES = 64  # of a cache
FETCH = "irnn_fetch"  # const void *(const void *weights, int32_t bytes): where these bytes are now
Out = Sequence[tuple[Any, tuple[Expr, ...]]]


@dataclass(frozen=True)
class Product:
    """Weights times activation vectors: depth, packed weights, and what sums start with (None: with 0)."""

    tile: Tiling
    depth: int
    weights: Any
    start: Any | None = None

    def regions(self, number: Expr) -> list[Any]:
        """What tile `number` reads of the constants."""
        found = [self.tile.region(self.weights, number)]
        return found if self.start is None else [*found, self.start[number, 0 : self.tile.start_shape[1]]]


def local_sums(tile: Tiling, many: int) -> list[tuple[Any, tuple[Expr, ...]]]:
    """Local buffers for the sums of `many` vectors, as `sum_products` takes them."""
    return [(T.sblock_alloc_buffer((tile.width,), "int32"), ()) for _ in range(many)]


def sum_products(name: str, product: Product, number: Expr, vectors: Vectors, out: Out) -> None:
    """Products of the rows of tile `number` with some vectors, inside the current block.

    out: for each of the vectors an int32 buffer [..., gates * lanes] and the outer indices there; those in one buffer
    are neighbours. Blocks of the loops are called tile_loop_<name>_<n>.
    """
    isa = product.tile.isa
    if _by_routine(product, vectors):
        _call(name, product, number, vectors, out)
        return
    first = [vectors.first_sum(isa, f"{name}_{n}", n, product.depth) for n in range(len(vectors))]
    for part in _parts(name, product, vectors):
        with T.sblock(f"{BLOCK_PREFIX}_start_{part.label}"):
            regions = part.start_regions(number)
            T.reads(*regions, *(total.region for total in first if total is not None))
            T.writes(*part.everything)
            for lane in part.registers_of_sums:
                value = part.start(number, lane)
                for acc, total in zip(part.acc, first, strict=False):
                    begin = value if total is None else value + T.Broadcast(total.value, isa.words)
                    T.buffer_store(acc, begin, [T.Ramp(lane, 1, isa.words)])
        part.multiply(number, vectors, 0, *vectors.groups(isa, product.depth))
        part.store(out)


def _by_routine(product: Product, vectors: Vectors) -> bool:
    """Whether the instruction set has a routine that makes these sums."""
    tile, isa = product.tile, product.tile.isa
    rows = tile.block * tile.lanes
    return len(vectors) == 1 and rows == isa.routine_rows and vectors.whole(isa, product.depth)


def _call(name: str, product: Product, number: Expr, vectors: Vectors, out: Out) -> None:
    """All sums of tile `number` with one vector, by the routine."""
    tile, isa = product.tile, product.tile.isa
    [(buffer, indices)] = out
    elements = vectors.elements(isa, product.depth)
    with T.sblock(f"{BLOCK_PREFIX}_call_{name}"):
        T.reads(*vectors.region(isa, 0, elements), *product.regions(number))
        T.writes(buffer[(*indices, slice(0, tile.width))])
        weights = T.address_of(product.weights[number * tile.blocks, 0, 0])
        if streamed():
            size = tile.blocks * int(product.weights.shape[1]) * int(product.weights.shape[2])
            weights = T.call_extern("handle", FETCH, weights, T.int32(size))
        operands = (
            T.address_of(buffer[(*indices, 0)]),
            weights,
            vectors.address(),
            elements,
            tile.blocks,
            None if product.start is None else T.address_of(product.start[number, 0]),
        )
        if tile.rows < tile.lanes:
            # A local buffer is made as large as what is seen to be used of it, and only rows that are no padding are.
            T.buffer_store(buffer, T.int32(0), [*indices, tile.width - 1])
        T.evaluate(isa.call_routine(*operands))


def start_products(product: Product, number: Expr, first: Any, out: tuple[Any, tuple[Expr, ...]]) -> None:
    """Stores what the sums of tile `number` start with where `add_products` makes them. first: of this vector, from
    `Vectors.first_sum`."""
    isa, (buffer, outer) = product.tile.isa, out
    for part in _parts("", product, None):
        for lane in part.registers_of_sums:
            value = part.start(number, lane)
            if first is not None:
                value = value + T.Broadcast(first.value, isa.words)
            T.buffer_store(buffer, value, [*outer, T.Ramp(part.at + lane, 1, isa.words)])


def add_products(
    name: str,
    product: Product,
    number: Expr,
    vectors: Vectors,
    out: Out,
    groups: tuple[Expr, int],
    share: tuple[Expr, int] | None = None,
) -> None:
    """out += products of the rows of tile `number` with some groups of the vectors: the first of them, and how many.

    share: which of how many calls this is that fetch as many groups that follow into the second cache.
    """
    isa = product.tile.isa
    for part in _parts(name, product, vectors):
        with T.sblock(f"{BLOCK_PREFIX}_start_{part.label}"):
            places = [part.at + lane for lane in part.registers_of_sums]
            T.reads(*part.regions(out))
            T.writes(*part.everything)
            for acc, (buffer, outer) in zip(part.acc, out, strict=True):
                for lane, place in zip(part.registers_of_sums, places, strict=True):
                    value = buffer[(*outer, T.Ramp(place, 1, isa.words))]
                    T.buffer_store(acc, value, [T.Ramp(lane, 1, isa.words)])
        part.multiply(number, vectors, *groups, 0, share)
        part.store(out)


def _parts(name: str, product: Product, vectors: Vectors | None) -> Iterator[_Part]:
    """The registers of a tile's weights whose sums are kept at a time."""
    tile, isa = product.tile, product.tile.isa
    many = 0 if vectors is None else len(vectors)
    registers = tile.accumulators // tile.blocks // isa.words
    most = registers if vectors is None else min(isa.registers(many, isa.groups(product.depth)), registers)
    size = next(n for n in range(most, 0, -1) if registers % n == 0 and n % isa.spread == 0)
    for step in range(tile.blocks * registers // size):
        block, offset = divmod(step * size, registers)
        lanes = size * isa.words
        acc = [T.sblock_alloc_buffer((lanes,), "int32") for _ in range(-(-many // isa.joined))]
        at = (block * registers + offset) * isa.words
        yield _Part(f"{name}_{step}", product, acc, size, block, offset, at)


@dataclass(frozen=True)
class _Part:
    """`registers` registers of a block's weights, from register `offset` on. acc: int32 [accumulators] for each operand
    of `dot`; at: the first of them among those of the whole tile."""

    label: str
    product: Product
    acc: Sequence[Any]
    registers: int
    block: int
    offset: int
    at: int

    @property
    def isa(self) -> InstructionSet:
        return self.product.tile.isa

    @property
    def everything(self) -> list[Any]:
        """Regions of all accumulators."""
        return [acc[0 : acc.shape[0]] for acc in self.acc]

    @property
    def registers_of_sums(self) -> range:
        """The first accumulators of each register of them."""
        return range(0, self.registers * self.isa.words, self.isa.words)

    def regions(self, out: Out) -> list[Any]:
        """Of `out`, what these sums are."""
        size = self.registers * self.isa.words // self.isa.spread
        place = slice(self.at // self.isa.spread, self.at // self.isa.spread + size)
        (buffer, outer), *others = out
        if others and others[0][0].same_as(
            buffer
        ):  # neighbouring rows: one region is quicker to reason about
            row, *inner = outer
            return [buffer[(slice(row, row + len(out)), *inner, place)]]
        return [b[(*indices, place)] for b, indices in out]

    def weights(self, number: Expr) -> Expr:
        """Index of this block of tile `number`."""
        return number * self.product.tile.blocks + self.block

    def start_regions(self, number: Expr) -> list[Any]:
        """What `start` reads."""
        tile, found = self.product.tile, []
        if self.product.start is not None:
            found.append(self.product.start[number, 0 : tile.start_shape[1]])
        if tile.corrected:
            first = self.offset * self.isa.register_bytes
            these = slice(first, first + self.registers * self.isa.register_bytes)
            found.append(self.product.weights[self.weights(number), 0, these])
        return found

    def start(self, number: Expr, lane: int) -> Expr:
        """What a register of accumulators starts with, whatever the vector."""
        isa, words = self.isa, self.isa.words
        value = None
        if self.product.tile.corrected:
            these = T.Ramp(self.offset * isa.register_bytes + 4 * lane, 1, isa.register_bytes)
            value = T.reinterpret(f"int32x{words}", self.product.weights[self.weights(number), 0, these])
        if self.product.start is not None:
            bias = isa.load_start(self.product.start, number, self.at + lane)
            value = bias if value is None else bias + value
        return T.Broadcast(T.int32(0), words) if value is None else value

    def fetch(self, weights: Expr, group: Expr, share: tuple[Expr, int]) -> None:
        """Emits prefetches of this part's share of a group of weights."""
        begin, size = self.offset * self.isa.register_bytes, self.registers * self.isa.register_bytes
        lines = -(-size // (LINE_BYTES * share[1]))
        for line in range(lines):
            place = begin + (share[0] * lines + line) * LINE_BYTES
            self._prefetch(weights, group, place, 2)

    def fetch_ahead(self, weights: Expr, group: Expr) -> None:
        """Emits prefetches of what `multiply` loads some groups later."""
        begin, size = self.offset * self.isa.register_bytes, self.registers * self.isa.register_bytes
        for place in range(begin, begin + size, LINE_BYTES):
            self._prefetch(weights, group + self.isa.fetch_ahead, place, 1)

    def _prefetch(self, weights: Expr, group: Expr, place: Expr, cache: int) -> None:
        # What lies behind the last group is the next tile. Behind all of them it is something else, or nothing:
        # prefetching that does no harm.
        before = self.product.tile.corrected
        self.isa.prefetch(T.address_of(self.product.weights[weights, before + group, place]), cache)

    def multiply(
        self,
        number: Expr,
        vectors: Vectors,
        first: Expr,
        groups: int,
        partial: int,
        share: tuple[Expr, int] | None = None,
    ) -> None:
        """Adds the products with some groups of the vectors, from a group on. partial: activations of one more; share:
        as in `add_products`."""
        isa, w, before = self.isa, self.product.weights, self.product.tile.corrected
        number = self.weights(number)
        begin, size = self.offset * isa.register_bytes, self.registers * isa.register_bytes

        def multiply(group: Expr, many: int, operands: Sequence[Sequence[Expr]]) -> None:
            for register in range(self.registers):
                place = T.Ramp(begin + register * isa.register_bytes, 1, isa.register_bytes)
                loaded = [w[number, before + group + i, place] for i in range(many)]
                for acc, activations in zip(self.acc, operands, strict=True):
                    isa.dot(acc, register * isa.words, loaded, activations)

        def regions(group: Expr, many: Expr, elements: Expr) -> None:
            activations = vectors.region(isa, group, elements)
            taken = w[number, before + group : before + group + many, begin : begin + size]
            T.reads(*self.everything, *activations, taken)
            T.writes(*self.everything)

        loops, single = divmod(groups, isa.steps)
        if loops:
            with T.serial(loops) as i:
                with T.sblock(f"{LOOP_PREFIX}_{self.label}"):
                    group = first + T.axis.reduce(loops, i) * isa.steps
                    T.sblock_attr({UNROLL_ATTR: isa.unrolling(len(vectors), isa.groups(self.product.depth))})
                    regions(group, isa.steps, isa.steps * isa.group)
                    if share is not None:
                        self.fetch(number, group + groups, share)
                    elif isa.fetch_ahead and len(vectors) == 1:
                        for step in range(isa.steps):
                            self.fetch_ahead(number, group + step)
                    multiply(group, isa.steps, vectors.load(isa, group, isa.steps))
        if single or partial:
            rest = first + loops * isa.steps
            with T.sblock(f"{BLOCK_PREFIX}_rest_{self.label}"):
                regions(rest, single + (1 if partial else 0), single * isa.group + partial)
                for n in range(single):
                    multiply(rest + n, 1, vectors.load(isa, rest + n, 1))
                if partial:
                    multiply(first + groups, 1, vectors.load_rest(isa, first + groups, partial))

    def store(self, out: Out) -> None:
        """Moves the sums to where they are wanted."""
        isa = self.isa
        words, spread = isa.words, isa.spread
        with T.sblock(f"{BLOCK_PREFIX}_sum_{self.label}"):
            T.reads(*self.everything)
            lanes = range(0, self.registers * words, words * spread)
            places = [(lane, (self.at + lane) // spread) for lane in lanes]
            T.writes(*self.regions(out))
            # Of joined vectors the last one first: what the first takes may then overwrite the accumulators.
            for vector in sorted(range(len(out)), key=lambda n: (n // isa.joined, -n)):
                buffer, outer = out[vector]
                for lane, place in places:
                    value = isa.gather(self.acc, vector, lane)
                    T.buffer_store(buffer, value, [*outer, T.Ramp(place, 1, words)])
