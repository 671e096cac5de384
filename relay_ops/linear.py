"""irnn.linear: Relax op and TIR lowering (formula: irnn_tvm/ops/linear.py).

Rows share each activation load: a tile of them where there is an instruction set to do it with, else four, with weights
in row-major order.
"""

from typing import Any

from tvm import relax, tirx
from tvm.tirx.script import builder as T

from irnn_tvm.schedules.instruction_set import shared

from . import fixed_point as fp
from .elementwise import product
from .kernel import INDEPENDENT_ATTR, MACS_ATTR, kernel
from .lanes import Lanes
from .matvec import dot_rows
from .planes import Planes
from .products import Product, local_sums, sum_products
from .registry import attr, constant, define, shape_of, tensor
from .tiles import TileState, Tiling, for_each_tile, products_bound, tiling
from .vectors import Vectors

ROWS = 4


def infer(call: Any) -> Any:
    return tensor([*shape_of(call.args[0])[:-1], shape_of(call.args[1])[0]], attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    x, w, bias, mult = call.args
    n, depth = (int(d) for d in shape_of(w))
    size = product(shape_of(x)[:-1])
    shift, out_zp, bits = attr(call, "shift"), attr(call, "out_zp"), attr(call, "out_bits")
    flat = bb.emit(relax.op.reshape(x, relax.ShapeExpr([size, depth])))
    m = size if isinstance(size, int | tirx.IntImm) else tirx.Var("m", "int64")
    arrays = [
        constant(a, bb, f"irnn.linear {what}") for a, what in ((w, "w"), (bias, "bias"), (mult, "mult"))
    ]
    scratch: list[Any] = []
    tile = None if shared(arrays[0]) else tiling(1, n, m, (arrays[0],), None, True)
    if tile is None:
        func, args = build(m, n, depth, shift, out_zp, bits), [w, bias, mult]
    else:
        worst = int(products_bound(arrays[0], arrays[2], arrays[1]).max())
        fits = fp.within_int32(worst, shift, out_zp)
        planes = one_vector(tile, depth)
        func = build_tiles(tile, m, depth, shift, out_zp, bits, fits, planes)
        packed = [tile.pack_weights(arrays[0]), tile.pack_start(arrays[1]), tile.pack(arrays[2])]
        args = [relax.const(a, str(a.dtype)) for a in packed]
        scratch = [] if planes is None else planes.types
    gv = bb.add_func(func, "linear")
    y_type = relax.TensorType([size, n], f"int{bits}")
    y = bb.emit(relax.call_tir(gv, [flat, *args], [y_type, *scratch] if scratch else y_type))
    if scratch:
        y = bb.emit(relax.TupleGetItem(y, 0))
    return relax.op.reshape(y, relax.ShapeExpr(list(call.ty.shape.values)))


def one_vector(tile: Tiling, depth: int) -> Planes | None:
    """The planes of a vector where a routine multiplies one after the other; None: all of them share a tile's weights,
    and however many there may be, they are taken as they are."""
    planes = Planes(tile.isa, 1, depth)
    return planes if planes.types and tile.isa.vectors == 1 else None


def build_tiles(
    tile: Tiling,
    m: Any,
    depth: int,
    shift: int,
    out_zp: int,
    bits: int,
    fits: bool,
    planes: Planes | None,
) -> Any:
    """`build` with a tile of rows at a time. fits: see `fixed_point.within_int32`; planes: of `one_vector`."""
    n, lanes = tile.rows, Lanes(tile.lanes, tile.isa)
    scratch = 0 if planes is None else len(planes.types)
    with kernel(
        "linear", "matvec", {MACS_ATTR: n * depth} | ({} if scratch else {INDEPENDENT_ATTR: 1}), 1 + scratch
    ) as k:
        x = k.arg("x", (m, depth), "int8")
        w = k.arg("w", tile.weight_shape(depth), "int8")
        bias = k.arg("bias", tile.start_shape, "int32")
        mult = k.arg("mult", (tile.count, tile.lanes), "int32")
        y = k.arg("y", (m, n), f"int{bits}")
        if planes is not None:
            planes.open(k)
        product = Product(tile, depth, w, bias)

        def unit(name: str, these: list[Any], vj: Any, valid: Any) -> None:
            columns = tile.units(vj, valid)
            regions = [x[these[0] : these[0] + len(these), 0:depth]]
            vectors = Vectors(x, [(vi,) for vi in these])
            if planes is not None:
                regions, vectors = planes.regions(x, slice(0, 1)), planes.vectors(x, [T.int32(0)])
            T.reads(*regions, *product.regions(vj), mult[vj, 0 : tile.lanes])
            T.writes(y[these[0] : these[0] + len(these), columns])
            sums = local_sums(tile, len(these))
            sums_of = lanes.sums()
            state = TileState(lanes, tile, valid, f"int{bits}")
            sum_products(f"rows{name}", product, vj, vectors, sums)
            for number, (vi, (total, _)) in enumerate(zip(these, sums, strict=True)):
                with T.sblock(f"store{name}_{number}"):
                    T.reads(total[0 : tile.lanes], mult[vj, 0 : tile.lanes])
                    T.writes(y[vi, columns])

                    def finish(vi: Any = vi, total: Any = total) -> None:
                        terms = [(lanes.load(total, 0), lanes.load(mult, vj, 0))]
                        state.store(lanes.rescale(sums_of, terms, shift, out_zp, bits, fits), y, vi, vj)

                    lanes.each(valid, finish)

        if planes is None:
            for_each_tile(tile, m, unit)
        else:
            with T.serial(m) as i:
                with T.sblock("vector"):
                    vi = T.axis.spatial(m, i)
                    T.reads(x[vi, 0:depth], w[0 : w.shape[0], 0 : w.shape[1], 0 : w.shape[2]],
                            bias[0 : tile.count, 0 : tile.start_shape[1]],
                            mult[0 : tile.count, 0 : tile.lanes])  # fmt: skip
                    T.writes(y[vi, 0:n])
                    planes.prepare_one(x, vi)
                    for_each_tile(tile, 1, lambda name, these, vj, valid: unit(name, [vi], vj, valid))
    return k.result


def build(m: Any, n: int, depth: int, shift: int, out_zp: int, bits: int) -> Any:
    """PrimFunc x [m, depth], w [n, depth], bias [n], mult [n] -> y [m, n]."""
    with kernel("linear", "matvec", {MACS_ATTR: n * depth}) as k:
        x = k.arg("x", (m, depth), "int8")
        w = k.arg("w", (n, depth), "int8")
        bias = k.arg("bias", (n,), "int32")
        mult = k.arg("mult", (n,), "int32")
        y = k.arg("y", (m, n), f"int{bits}")

        def unit(vi: Any, first: Any, rows: int, name: str) -> None:
            acc = T.sblock_alloc_buffer((rows,), "int32")
            dot_rows(
                name,
                acc,
                rows,
                depth,
                (w, lambda g, c: (first + g, c)),
                (x, lambda c: (vi, c)),
                (bias, lambda g: (first + g,)),
            )
            with T.sblock(f"store_{name}"):
                T.reads(acc[0:rows], mult[first : first + rows])
                T.writes(y[vi, first : first + rows])
                for g in range(rows):
                    value = fp.rescale(fp.i64(acc[g]) * fp.i64(mult[first + g]), shift, out_zp, bits)
                    T.buffer_store(y, value, [vi, first + g])

        blocks, rest = divmod(n, ROWS)
        if blocks:
            with T.grid(m, blocks) as (i, j):
                with T.sblock("unit"):
                    vi, vj = T.axis.spatial(m, i), T.axis.spatial(blocks, j)
                    T.reads(x[vi, 0:depth], w[vj * ROWS : vj * ROWS + ROWS, 0:depth],
                            bias[vj * ROWS : vj * ROWS + ROWS], mult[vj * ROWS : vj * ROWS + ROWS])  # fmt: skip
                    T.writes(y[vi, vj * ROWS : vj * ROWS + ROWS])
                    unit(vi, vj * ROWS, ROWS, "rows")
        if rest:
            with T.serial(m) as i:
                with T.sblock("unit_rest"):
                    vi = T.axis.spatial(m, i)
                    first = blocks * ROWS
                    T.reads(x[vi, 0:depth], w[first:n, 0:depth], bias[first:n], mult[first:n])
                    T.writes(y[vi, first:n])
                    unit(vi, first, rest, "rest")
    return k.result


define("linear", ["x", "w", "bias", "mult"], infer, legalize)
