"""Helium, the vectors of ARMv8.1-M (MVE, integer part): products by a routine (helium_dot.py), rescaling and tables by
the functions of helium_vectors.py, which LLVM puts in their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm.tirx.script import builder as T

from . import helium_c, helium_dot, helium_vectors
from .instruction_set import Expr, InstructionSet
from .vector_set import VectorSet


def _call(dtype: str, name: str, *arguments: Expr) -> Expr:
    return T.call_pure_extern(dtype, helium_vectors.PREFIX + name, *arguments)


class HeliumRows(InstructionSet):
    """Its products, with everything else one row after the other: what C sources are written for."""

    name = "helium-rows"
    register_bytes = 16
    tiles = (8,)
    rows = 64
    block = 8
    group = 16
    vectors = 1
    shared = 8
    alone = 8
    routine_rows = helium_dot.ROWS
    stops = True
    ahead = False

    def call_routine(
        self, sums: Expr, weights: Expr, activations: Expr, depth: int, blocks: int, start: Expr | None
    ) -> Expr:
        first = T.reinterpret("handle", T.uint64(0)) if start is None else start
        arguments = (sums, weights, activations, T.int32(depth), T.int32(blocks), first)
        return T.call_extern("int32", helium_dot.NAME, *arguments)

    def assembly(self) -> dict[str, str]:
        return {helium_dot.NAME: helium_dot.assembly()}

    def c_routines(self) -> dict[str, str]:
        return {helium_dot.NAME: helium_c.DOT}

    def pack_start(self, values: np.ndarray) -> np.ndarray:
        return values


class Helium(HeliumRows, VectorSet):
    """The same with vectors for what is done with the sums."""

    name = "helium"
    most_pieces = 256

    def llvm(self) -> str:
        return helium_vectors.text()

    def scaled_sum(self, terms: Sequence[tuple[Expr, Expr]], shift: int) -> Expr:
        form = "below" if shift < 32 else "at" if shift == 32 else "above"
        values = [value for term in terms for value in term]
        return _call("int32x4", f"scaled_{len(terms)}_{form}_32", *values, T.int32(shift))

    def interpolate(self, distance: Expr, slope: Expr, value: Expr, shift: int) -> Expr:
        return _call("int16x8", f"line_{shift}", distance, slope, value)

    def add_pairs(self, total: Expr, values: Expr) -> Expr:
        return _call("int32x4", "add_pairs", total, values)

    def add_squares(self, total: Expr, values: Expr) -> Expr:
        return _call("int64x2", "add_squares", total, values)

    def add_sizes(self, total: Expr, values: Expr) -> Expr:
        return _call("int64x2", "add_sizes", total, values)

    def scaled_by(self, values: Expr, factor: Expr, shift: Expr) -> Expr:
        return _call("int32x4", "scaled_by", values, factor, T.Cast("int32", shift))

    def table_row(self, pieces: int) -> int:
        return pieces

    def load_table(self, table: Any, index: Sequence[Expr], pieces: int) -> list[Expr]:
        """Its address: tables stay in memory, and lanes are gathered from there."""
        del pieces
        return [T.address_of(table[(*index, 0)])]

    def look_up(self, table: Sequence[Expr], index: Expr) -> Expr:
        [address] = table
        return _call("int16x8", "look_up", address, index)


HELIUM, HELIUM_ROWS = Helium(), HeliumRows()
