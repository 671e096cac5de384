"""W x + b as the step of a recurrent layer gets it: made ahead for several steps, or together with the rest of a step.

A step of a stream has nothing to share loads with, so that one kernel multiplies x and h, a tile after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .kernel import Kernel
from .planes import Planes
from .products import Product, local_sums, sum_products
from .scan import AHEAD
from .tiles import Tiling

Expr = Any
Sums = tuple[Any, tuple[Expr, ...]]


class Ahead:
    """A row of what input_products.py made. depth: of products that the step makes; outputs: scratch parameters."""

    outputs = 0
    depth = 0

    def __init__(self, tile: Tiling, batch: int) -> None:
        self.tile, self.batch = tile, batch

    def open(self, k: Kernel) -> None:
        """Declares the first parameter of a step."""
        self.sums = k.arg("sums_x", (self.batch, *self.tile.sums_shape), "int32")

    def open_constants(self, k: Kernel) -> None:
        """Declares parameters behind the constants of the step."""

    def open_scratch(self, k: Kernel) -> None:
        """Declares parameters behind the scratch of the step."""

    def prepare(self) -> None:
        """What comes before all tiles."""

    def regions(self, rows: slice, vj: Expr, part: int = 0) -> list[Any]:
        """What the products of tile `vj` with some vectors of the batch read, for a part of the gates."""
        del part
        return [self.sums[rows, vj, 0 : self.tile.width]]

    def first_gate(self, part: int) -> int:
        """The first gate that sums of a part hold."""
        del part
        return 0

    def sum(self, name: str, rows: Sequence[Expr], vj: Expr, part: int = 0) -> list[Sums]:
        """For each of the vectors a buffer that holds the sums int32 [..., gates * lanes] of tile `vj`, and where."""
        del name, part
        return [(self.sums, (row, vj)) for row in rows]


class Together(Ahead):
    """Products with x [batch, width] in the step itself. parts: how many gates are wanted at a time."""

    def __init__(self, tile: Tiling, batch: int, width: int, parts: Sequence[int] | None = None) -> None:
        # Weights are those of the products ahead, and so are tiles; several vectors are only those of the batch.
        super().__init__(tile.for_vectors(AHEAD * batch), batch)
        self.depth, self.planes = width, Planes(self.tile.isa, batch, width)
        self.outputs = len(self.planes.types)
        self.parts = (tile.gates,) if parts is None else tuple(parts)
        self.tiles = [replace(self.tile, gates=gates) for gates in self.parts]

    def pack(self, w_ih: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        """The constants of `open_constants`, of int8 [gates * rows, X] and int32 [gates * rows]."""
        packed = []
        for part, tile in enumerate(self.tiles):
            first = self.first_gate(part) * tile.rows
            these = slice(first, first + tile.gates * tile.rows)
            packed += [tile.pack_weights(w_ih[these]), tile.pack_start(bias[these])]
        return packed

    def open(self, k: Kernel) -> None:
        self.x = k.arg("x", (self.batch, self.depth), "int8")

    def open_constants(self, k: Kernel) -> None:
        self.products = []
        for part, tile in enumerate(self.tiles):
            suffix = f"_{part}" if part else ""
            w = k.arg(f"w_x{suffix}", tile.weight_shape(self.depth), "int8")
            start = k.arg(f"start_x{suffix}", tile.start_shape, "int32")
            self.products.append(Product(tile, self.depth, w, start))

    def open_scratch(self, k: Kernel) -> None:
        self.planes.open(k, "_x")

    def prepare(self) -> None:
        self.planes.prepare(self.x)

    def regions(self, rows: slice, vj: Expr, part: int = 0) -> list[Any]:
        return [*self.planes.regions(self.x, rows), *self.products[part].regions(vj)]

    def first_gate(self, part: int) -> int:
        return sum(self.parts[:part])

    def sum(self, name: str, rows: Sequence[Expr], vj: Expr, part: int = 0) -> list[Sums]:
        sums = local_sums(self.tiles[part], len(rows))
        sum_products(f"x{name}", self.products[part], vj, self.planes.vectors(self.x, rows), sums)
        return sums
