"""The C interface of one built library: names, tensors, sizes. Made by build for the C writers and the report."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

MAGIC = 0x4E4E5249  # "IRNN", little endian
HEADER_BYTES = 16
# A snapshot: magic, version, hash of the model, bytes of all of it, CRC-32 of the rest; then the states one after the
# other, each as it is in memory.
SNAPSHOT_MAGIC = 0x534E5249  # "IRNS"
SNAPSHOT_VERSION = 1
SNAPSHOT_HEADER_BYTES = 20


@dataclass(frozen=True)
class Tensor:
    """An input or output. shape: ints and text in T; row: elements per time step (None: no time axis), of which
    `outer` pieces lie apart in memory (1 when time is the leading axis); stage: arena offset where such pieces are
    gathered for one step; limit: for inputs of ids or lengths, the number that all values are below (text in T when
    it grows with the sequence)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    scale: float | None
    zero_point: int | None
    row: int | None = None
    outer: int = 1
    stage: int = 0
    limit: int | str | None = None

    def elements(self) -> str:
        """Number of elements as a C expression in T."""
        return " * ".join(f"{d}" if isinstance(d, int) else str(d) for d in self.shape) or "1"


@dataclass(frozen=True)
class State:
    """A persistent state: offset in the caller's state memory and initial value."""

    offset: int
    initial: np.ndarray


@dataclass(frozen=True)
class Tile:
    """A piece of weights that is fetched at a time. weight: number of a constant; offset, size: bytes."""

    weight: int
    offset: int
    size: int


@dataclass(frozen=True)
class TileGroup:
    """Tiles in order, which a call on T time steps fetches (T * per_step + once) times."""

    tiles: tuple[Tile, ...]
    per_step: int
    once: int


@dataclass(frozen=True)
class Interface:
    """Everything that header, C source and report say about a library's interface.

    streamable: step exists and run loops over it; feedback: (input, output) pairs that run carries from step to
    step; fixed_steps: the only accepted T, or None; min_steps, max_steps: smallest and largest accepted T (0: no
    limit); T % period is one of the remainders. at_once: steps that a streaming library works on together in run, at
    most. threads: that share its work. fetch_bytes: of weights that are fetched at a time, at most; 0: they are read
    where they lie. fetch_order: all of these (fetch_order.py). notes: which names are not what was asked for.
    """

    name: str
    target: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[State, ...]
    state_bytes: int
    arena_bytes: int
    streamable: bool
    feedback: tuple[tuple[int, int], ...]
    fixed_steps: int | None
    min_steps: int
    max_steps: int
    model_hash: int
    summary: str = ""
    at_once: int = 1
    threads: int = 1
    fetch_bytes: int = 0
    fetch_order: tuple[TileGroup, ...] = ()
    notes: tuple[str, ...] = ()
    period: int = 1
    remainders: tuple[int, ...] = (0,)

    def takes(self, length: str) -> list[str]:
        """C conditions that together say whether a sequence of this length, a C expression, is accepted."""
        if self.fixed_steps is not None:
            return [f"{length} == {self.fixed_steps}"]
        rules = [f"{length} >= {self.min_steps}"]
        rules += [f"{length} <= {self.max_steps}"] if self.max_steps else []
        if self.period > 1:
            some = [f"{length} % {self.period} == {r}" for r in self.remainders]
            rules.append(some[0] if len(some) == 1 else f"({' || '.join(some)})")
        return rules

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of a saved state."""
        return SNAPSHOT_HEADER_BYTES + sum(state.initial.nbytes for state in self.states)

    @property
    def interface_hash(self) -> int:
        """What a header and the library that it was made with have in common."""
        tensors = [
            (t.name, t.dtype, t.shape, t.scale, t.zero_point, t.limit) for t in (*self.inputs, *self.outputs)
        ]
        sizes: tuple[int | None, ...] = (self.state_bytes, self.arena_bytes, self.fixed_steps)
        sizes += (self.min_steps, self.max_steps)
        sizes += (self.period, *self.remainders) if self.period > 1 else ()
        return zlib.crc32(repr((self.name, self.model_hash, self.streamable, sizes, tensors)).encode())
