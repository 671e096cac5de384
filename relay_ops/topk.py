"""irnn.topk: Relax op and TIR lowering (irnn_tvm/ops/topk.py).

k passes over a row; each takes the best of what comes after the last choice in the order (value down, index up), so
nothing has to be marked or sorted.
"""

from typing import Any

from tvm import relax, tirx

from . import fixed_point as fp
from .elementwise import product
from .kernel import kernel
from .reduction import size_var
from .registry import attr, define, dtype_bits, shape_of, tensor

LAST_VALUE, LAST_INDEX, BEST_VALUE, BEST_INDEX = range(4)


def infer(call: Any) -> Any:
    shape = [*shape_of(call.args[0])[:-1], attr(call, "k")]
    return relax.TupleType([tensor(shape, dtype_bits(call.args[0])), tensor(shape, 32)])


def legalize(bb: Any, call: Any) -> Any:
    x, count = call.args[0], attr(call, "k")
    n, rows, bits = int(shape_of(x)[-1]), product(shape_of(x)[:-1]), dtype_bits(x)
    flat = bb.emit(relax.op.reshape(x, relax.ShapeExpr([rows, n])))
    gv = bb.add_func(build(size_var(rows, "rows"), n, count, bits), "topk")
    types = [relax.TensorType([rows, count], f"int{b}") for b in (bits, 32)]
    both = bb.emit(relax.call_tir(gv, [flat], types))
    shape = relax.ShapeExpr(list(call.ty.fields[0].shape.values))
    parts = [bb.emit(relax.op.reshape(bb.emit(relax.TupleGetItem(both, i)), shape)) for i in range(2)]
    return relax.Tuple(parts)


def build(rows: Any, n: int, count: int, bits: int) -> Any:
    """PrimFunc x [rows, n] -> values [rows, count], indices [rows, count]."""
    from tvm.tirx.script import builder as T

    beyond = fp.limits(bits)[1] + 1
    with kernel("topk", "select", outputs=2) as k:
        x = k.arg("x", (rows, n), f"int{bits}")
        values = k.arg("values", (rows, count), f"int{bits}")
        indices = k.arg("indices", (rows, count), "int32")
        with T.serial(rows) as r:
            with T.sblock("row"):
                vr = T.axis.spatial(rows, r)
                T.reads(x[vr, 0:n])
                T.writes(values[vr, 0:count], indices[vr, 0:count])
                cells = T.sblock_alloc_buffer((4,), "int32")
                T.buffer_store(cells, T.int32(beyond), [LAST_VALUE])
                T.buffer_store(cells, T.int32(-1), [LAST_INDEX])
                with T.serial(count) as j:
                    T.buffer_store(cells, T.int32(-beyond - 1), [BEST_VALUE])
                    T.buffer_store(cells, T.int32(0), [BEST_INDEX])  # k <= n: it is always found
                    with T.serial(n) as i:
                        value, place = fp.i32(x[vr, i]), T.Cast("int32", i)
                        after = tirx.any(
                            value < cells[LAST_VALUE],
                            tirx.all(tirx.EQ(value, cells[LAST_VALUE]), place > cells[LAST_INDEX]),
                        )
                        with T.If(tirx.all(after, value > cells[BEST_VALUE])):
                            with T.Then():
                                T.buffer_store(cells, value, [BEST_VALUE])
                                T.buffer_store(cells, place, [BEST_INDEX])
                    T.buffer_store(values, T.Cast(f"int{bits}", cells[BEST_VALUE]), [vr, j])
                    T.buffer_store(indices, cells[BEST_INDEX], [vr, j])
                    T.buffer_store(cells, cells[BEST_VALUE], [LAST_VALUE])
                    T.buffer_store(cells, cells[BEST_INDEX], [LAST_INDEX])
    return k.result


define("topk", ["x"], infer, legalize)
