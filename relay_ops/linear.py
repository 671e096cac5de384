"""irnn.linear: Relax op and TIR lowering (formula: irnn_tvm/ops/linear.py).

Four output rows share each activation load; weights stay row-major, which is the order the dot products read.
"""

from typing import Any

from tvm import relax, tirx

from . import fixed_point as fp
from .elementwise import product
from .kernel import MACS_ATTR, kernel
from .matvec import dot_rows
from .registry import attr, define, shape_of, tensor

ROWS = 4


def infer(call: Any) -> Any:
    return tensor([*shape_of(call.args[0])[:-1], shape_of(call.args[1])[0]], attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    x, w, bias, mult = call.args
    n, depth = (int(d) for d in shape_of(w))
    size = product(shape_of(x)[:-1])
    bits = attr(call, "out_bits")
    flat = bb.emit(relax.op.reshape(x, relax.ShapeExpr([size, depth])))
    m = size if isinstance(size, int | tirx.IntImm) else tirx.Var("m", "int64")
    func = build(m, n, depth, attr(call, "shift"), attr(call, "out_zp"), bits)
    gv = bb.add_func(func, "linear")
    y = bb.emit(relax.call_tir(gv, [flat, w, bias, mult], relax.TensorType([size, n], f"int{bits}")))
    return relax.op.reshape(y, relax.ShapeExpr(list(call.ty.shape.values)))


def build(m: Any, n: int, depth: int, shift: int, out_zp: int, bits: int) -> Any:
    """PrimFunc x [m, depth], w [n, depth], bias [n], mult [n] -> y [m, n]."""
    from tvm.tirx.script import builder as T

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
