"""irnn.linear: Relax op and TIR lowering (formula: irnn_tvm/ops/linear.py).

Rows share each activation load: a tile of them where there is an instruction set to do it with, else four, with weights
in row-major order.
"""

from typing import Any

from tvm import relax, tirx
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from .elementwise import product
from .kernel import INDEPENDENT_ATTR, MACS_ATTR, kernel
from .linear_tiles import LinearTiles, linear_tiles
from .matvec import dot_rows
from .registry import attr, constant, define, shape_of, tensor

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
    named = (("w", w), ("bias", bias), ("mult", mult))
    rows, biases, multipliers = (constant(value, bb, f"irnn.linear {name}") for name, value in named)
    tiles = linear_tiles(rows, biases, multipliers, m, shift, out_zp, bits)
    scratch = [] if tiles is None else tiles.scratch
    if tiles is None:
        func, args = build(m, n, depth, shift, out_zp, bits), [w, bias, mult]
    else:
        func, args = build_tiles(tiles, m), tiles.constants
    gv = bb.add_func(func, "linear")
    y_type = relax.TensorType([size, n], f"int{bits}")
    y = bb.emit(relax.call_tir(gv, [flat, *args], [y_type, *scratch] if scratch else y_type))
    if scratch:
        y = bb.emit(relax.TupleGetItem(y, 0))
    return relax.op.reshape(y, relax.ShapeExpr(list(call.ty.shape.values)))


def build_tiles(tiles: LinearTiles, m: Any) -> Any:
    """`build` with a tile of rows at a time."""
    n, scratch = tiles.tile.rows, len(tiles.scratch)
    attrs = {MACS_ATTR: n * tiles.depth} | ({} if scratch else {INDEPENDENT_ATTR: 1})
    with kernel("linear", "matvec", attrs, 1 + scratch) as k:
        x = k.arg("x", (m, tiles.depth), "int8")
        constants = tiles.open(k)
        y = k.arg("y", (m, n), f"int{tiles.bits}")
        tiles.open_scratch(k)
        tiles.emit(constants, x, m, y)
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
