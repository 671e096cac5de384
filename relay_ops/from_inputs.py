"""W x + b as the step of a recurrent layer gets it: made ahead for several steps, or together with the rest of a step.

A step of a stream has nothing to share loads with, so that one kernel multiplies x and h, a tile after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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

    def regions(self, rows: slice, vj: Expr) -> list[Any]:
        """What the products of tile `vj` with some vectors of the batch read."""
        return [self.sums[rows, vj, 0 : self.tile.width]]

    def sum(self, name: str, rows: Sequence[Expr], vj: Expr) -> list[Sums]:
        """For each of the vectors a buffer that holds the sums int32 [..., gates * lanes] of tile `vj`, and where."""
        del name
        return [(self.sums, (row, vj)) for row in rows]


class Together(Ahead):
    """Products with x [batch, width] in the step itself."""

    def __init__(self, tile: Tiling, batch: int, width: int) -> None:
        # Weights are those of the products ahead, and so are tiles; several vectors are only those of the batch.
        super().__init__(tile.for_vectors(AHEAD * batch), batch)
        self.depth, self.planes = width, Planes(self.tile.isa, batch, width)
        self.outputs = len(self.planes.types)

    def open(self, k: Kernel) -> None:
        self.x = k.arg("x", (self.batch, self.depth), "int8")

    def open_constants(self, k: Kernel) -> None:
        w = k.arg("w_x", self.tile.weight_shape(self.depth), "int8")
        self.product = Product(self.tile, self.depth, w, k.arg("start_x", self.tile.start_shape, "int32"))

    def open_scratch(self, k: Kernel) -> None:
        self.planes.open(k, "_x")

    def prepare(self) -> None:
        self.planes.prepare(self.x)

    def regions(self, rows: slice, vj: Expr) -> list[Any]:
        return [*self.planes.regions(self.x, rows), *self.product.regions(vj)]

    def sum(self, name: str, rows: Sequence[Expr], vj: Expr) -> list[Sums]:
        sums = local_sums(self.tile, len(rows))
        sum_products(f"x{name}", self.product, vj, self.planes.vectors(self.x, rows), sums)
        return sums
