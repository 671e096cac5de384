"""Tables of pieces as vectors look them up, and the search for the piece of every lane.

A search halves what is left at every level: the knot that a lane is compared with depends on the levels before. Where a
table takes several registers (`VectorSet.levels`), the knots of each level are stored again, by themselves: those
of all but the last levels fit one register.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.vector_set import VectorSet

Expr = Any


def table_shape(isa: VectorSet, pieces: int) -> tuple[int, int]:
    """Shape of a packed table: knots, slopes and values, then knots by level, as far as they are wanted."""
    row = isa.table_row(pieces)
    *_, last = [0, *(place + size for place, size in _level_places(isa, pieces))]
    return 3 + -(-last // row), row


def pack_table(isa: VectorSet, tables: np.ndarray) -> np.ndarray:
    """int16 [..., 3, P] -> [..., *table_shape]: the last piece repeated, which changes no result."""
    pieces = tables.shape[-1]
    planes, row = table_shape(isa, pieces)
    packed = np.zeros((*tables.shape[:-2], planes * row), np.int16)
    for n in range(3):
        packed[..., n * row : (n + 1) * row] = _padded(tables[..., n, :], row)
    for level, (place, size) in enumerate(_level_places(isa, pieces), start=1):
        step = pieces >> (level + 1)
        knots = tables[..., 0, step :: 2 * step]
        packed[..., 3 * row + place : 3 * row + place + size] = _padded(knots, size)
    return packed.reshape(*tables.shape[:-2], planes, row)


def find_pieces(
    isa: VectorSet,
    table: Any,
    outer: Sequence[Expr],
    pieces: int,
    x: Expr,
    found: Any,
    at: Sequence[Expr],
) -> None:
    """Stores in found[at] the index (in the form that `look_up` takes) of the piece of every int16 lane of x.

    table: int16 [..., *table_shape], the one at `outer`. Emits stores into the current block.
    """
    size, half = isa.halves, pieces // 2

    def constant(value: int) -> Expr:
        return T.Broadcast(T.int16(value), size)

    places = list(_level_places(isa, pieces))
    knots = [] if places else isa.load_table(table, (*outer, 0), pieces)
    T.buffer_store(found, constant(isa.first_index), list(at))
    step, level = half, 0
    while step:
        further = found[tuple(at)] + constant(isa.index_step * step)
        if level == 0:  # the same knot in all lanes
            knot = T.Broadcast(table[(*outer, 0, half)], size)
        elif places:
            knot = isa.look_up(list(_level_registers(isa, table, outer, places[level - 1])), found[tuple(at)])
        else:
            knot = isa.look_up(knots, further)
        # Written out so that every level is a comparison and a choice between two registers.
        if places:  # twice the index of the level before, and one more
            more = isa.index_step - isa.first_index
            choice = T.Select(x >= knot, constant(more), constant(-isa.first_index))
            T.buffer_store(found, found[tuple(at)] + found[tuple(at)] + choice, list(at))
        else:
            T.buffer_store(found, T.Select(x >= knot, further, found[tuple(at)]), list(at))
        step, level = step // 2, level + 1


def _level_places(isa: VectorSet, pieces: int) -> Iterator[tuple[int, int]]:
    """For every level but the first: where its knots begin behind the values, and the entries of their registers."""
    if not isa.levels or isa.table_row(pieces) == isa.entries:
        return
    place = 0
    for level in range(1, pieces.bit_length() - 1):
        size = -(-(1 << level) // isa.entries) * isa.entries
        yield place, size
        place += size


def _level_registers(
    isa: VectorSet, table: Any, outer: Sequence[Expr], place: tuple[int, int]
) -> Iterator[Expr]:
    row, (first, size) = int(table.shape[-1]), place
    for entry in range(first, first + size, isa.entries):
        plane, column = divmod(entry, row)
        yield isa.load_entries(table, (*outer, 3 + plane, column))


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """The last one repeated, up to `size`."""
    padding = [(0, 0)] * (values.ndim - 1) + [(0, size - values.shape[-1])]
    return np.pad(values, padding, mode="edge")
