"""The products of a recurrent layer with its input, W x + b, for several time steps at a time.

They wait for no state, so that steps share every load of a weight: the time loop (scan.py) makes them some steps ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from .from_inputs import Ahead, Together
from .kernel import INDEPENDENT_ATTR, MACS_ATTR, kernel
from .planes import Planes
from .products import Product, add_products, start_products, sum_products
from .scan import AHEAD, Inputs
from .tiles import Tiling, for_each_tile, in_vectors
from .vectors import JoinedVectors, Vectors, join, joined_shape


@dataclass(frozen=True)
class Step:
    """The PrimFunc of a time step, what its constants and scratch end with, and what is made of x ahead of it."""

    func: Any
    constants: list[np.ndarray] = field(default_factory=list)
    scratch: list[Any] = field(default_factory=list)
    inputs: Inputs | None = None


def with_inputs(
    tile: Tiling,
    batch: int,
    w_ih: np.ndarray,
    bias: np.ndarray,
    build_step: Callable[[Ahead], Any],
    *,
    parts: Sequence[int] | None = None,
) -> Step:
    """A step with its products with x: made ahead, and in the step where that is a single one or where the instruction
    set gains nothing from several.

    w_ih int8 [gates * rows, X], bias int32 [gates * rows]; build_step: makes the PrimFunc of where it gets them from;
    parts: see `Together`; weights in parts are not those of products ahead: there is no kernel for single steps then.
    """
    if not tile.isa.ahead:
        together = Together(tile, batch, w_ih.shape[1], parts)
        return Step(build_step(together), together.pack(w_ih, bias), together.planes.types)
    one = build_step if parts is None else None
    return Step(build_step(Ahead(tile, batch)), inputs=inputs(tile, batch, w_ih, bias, one))


def inputs(
    tile: Tiling,
    batch: int,
    w_ih: np.ndarray,
    bias: np.ndarray,
    single: Callable[[Ahead], Any] | None = None,
) -> Inputs:
    """w_ih int8 [gates * rows, X], bias int32 [gates * rows] -> sums int32 [batch, tiles, gates * lanes] per step.

    single: makes the kernel for a single step (`Inputs.single`) of where it gets them from.
    """
    together = Together(tile, batch, w_ih.shape[1])
    tile, width = tile.for_vectors(AHEAD * batch), w_ih.shape[1]
    packed = [tile.pack_weights(w_ih), tile.pack_start(bias)]
    joined = joined_shape(tile.isa, AHEAD * batch, width)
    planes = Planes(tile.isa, AHEAD * batch, width)
    scratch = planes.types if joined is None else [relax.TensorType(joined, "int8")]
    return Inputs(
        build(tile, batch, width),
        [relax.const(a, str(a.dtype)) for a in packed],
        relax.TensorType([AHEAD, batch, *tile.sums_shape], "int32"),
        scratch,
        None if single is None else single(together),
        together.outputs,
    )


def build(tile: Tiling, batch: int, width: int) -> Any:
    """PrimFunc x [m, X], weights, starts -> sums [m, tiles, gates * lanes], (scratch...)."""
    m, isa = tirx.Var("m", "int64"), tile.isa
    shape = joined_shape(isa, AHEAD * batch, width)
    planes = Planes(isa, AHEAD * batch, width)
    attrs = {MACS_ATTR: batch * tile.gates * tile.rows * width, INDEPENDENT_ATTR: 1}
    scratch = len(planes.types) if shape is None else 1
    with kernel("input_products", "matmul", attrs, 1 + scratch) as k:
        x = k.arg("x", (m, width), "int8")
        w = k.arg("w", tile.weight_shape(width), "int8")
        start = k.arg("start", tile.start_shape, "int32")
        sums = k.arg("sums", (m, *tile.sums_shape), "int32")
        product = Product(tile, width, w, start)
        if shape is not None:
            joined = k.arg("joined", shape, "int8")
            join(isa, x, joined)
            _all_at_once(product, m, x, sums, planes, joined)
        else:
            planes.open(k)
            planes.prepare(x)
            parts = _depth_parts(tile, width)
            if parts is None:
                _all_at_once(product, m, x, sums, planes, None)
            else:
                _in_parts(product, m, x, sums, planes, *parts)
    return k.result


def _all_at_once(product: Product, m: Any, x: Any, sums: Any, planes: Planes, joined: Any | None) -> None:
    """Some vectors with a whole tile, then the next ones."""
    tile, isa = product.tile, product.tile.isa

    def unit(name: str, rows: list[Any], vj: Any, valid: int) -> None:
        del valid  # padding is computed, too: whole tiles are read
        many = len(rows)
        vectors: Vectors = planes.vectors(x, rows)
        regions = planes.regions(x, slice(rows[0], rows[0] + many))
        if joined is not None and many == isa.stored:
            vectors = JoinedVectors(joined, [(rows[0] // many,)], many)
            regions = [joined[rows[0] // many, 0 : joined.shape[1], 0 : joined.shape[2]]]
        T.reads(*regions, *product.regions(vj))
        T.writes(sums[rows[0] : rows[0] + many, vj, 0 : tile.width])
        sum_products(f"x{name}", product, vj, vectors, [(sums, (row, vj)) for row in rows])

    for_each_tile(tile, m, unit, isa.stored or None)


def _in_parts(product: Product, m: Any, x: Any, sums: Any, planes: Planes, groups: int, rest: int) -> None:
    """All vectors with a part of a tile's depth, whose weights stay in the first cache; then the next part. groups: of
    a part; rest: of the last one, if that is shorter."""
    tile, isa, depth = product.tile, product.tile.isa, product.depth
    whole = (isa.groups(depth) - rest) // groups

    def multiply(name: str, vj: Any, first: Any, number: int) -> None:
        def emit(suffix: str, rows: list[Any], vj: Any) -> None:
            these = slice(rows[0], rows[0] + len(rows))
            T.reads(*planes.regions(x, these), *product.regions(vj), sums[these, vj, 0 : tile.width])
            T.writes(sums[these, vj, 0 : tile.width])
            out = [(sums, (row, vj)) for row in rows]
            vectors = planes.vectors(x, rows)
            share = None
            if len(rows) > 1:
                shares = AHEAD // len(rows)
                share = T.floormod(rows[0] // len(rows), shares), shares
            add_products(f"{name}{suffix}", product, vj, vectors, out, (first, number), share)

        in_vectors(m, (isa.vectors, 1), 0, vj, emit)

    with T.serial(tile.count) as j:
        with T.sblock("parts"):
            vj = T.axis.spatial(tile.count, j)
            T.reads(*planes.regions(x, slice(0, m)), *product.regions(vj))
            T.writes(sums[0:m, vj, 0 : tile.width])
            with T.serial(m) as i:
                with T.sblock("start"):
                    row = T.axis.spatial(m, i)
                    first = planes.vectors(x, [row]).first_sum(isa, "x", 0, depth)
                    T.reads(*product.regions(vj), *([] if first is None else [first.region]))
                    T.writes(sums[row, vj, 0 : tile.width])
                    start_products(product, vj, first, (sums, (row, vj)))
            with T.serial(whole) as p:
                with T.sblock("part"):
                    vp = T.axis.reduce(whole, p)
                    T.reads(
                        *planes.regions(x, slice(0, m)), *product.regions(vj), sums[0:m, vj, 0 : tile.width]
                    )
                    T.writes(sums[0:m, vj, 0 : tile.width])
                    multiply("x", vj, vp * groups, groups)
            if rest:
                multiply("x_rest", vj, T.int32(whole * groups), rest)


def _depth_parts(tile: Tiling, depth: int) -> tuple[int, int] | None:
    """Groups of a part of the depth, and of the last part if it is shorter (else 0); None: one part for all."""
    isa = tile.isa
    groups, size = isa.groups(depth), tile.width * isa.group
    most, unroll = isa.cached // size, isa.unrolling(isa.vectors, groups)
    if groups <= 1.5 * most or most < 2 * unroll:
        return None
    step = unroll * isa.steps
    sizes = range(most // step * step, most // 2, -step)
    best = min(sizes, key=lambda n: groups % n)
    return best, groups % best
