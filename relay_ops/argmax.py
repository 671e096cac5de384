"""irnn.argmax: Relax op and TIR lowering (irnn_tvm/ops/argmax.py)."""

from typing import Any

from tvm import relax

from . import fixed_point as fp
from .kernel import kernel
from .reduction import axis_of, fold_around, size_var, without_axis
from .registry import define, dtype_bits, tensor


def infer(call: Any) -> Any:
    return tensor(without_axis(call), 32)


def legalize(bb: Any, call: Any) -> Any:
    flat, sizes = fold_around(bb, call.args[0], axis_of(call))
    outer, length, inner = (size_var(s, n) for s, n in zip(sizes, ("outer", "length", "inner"), strict=True))
    gv = bb.add_func(build(outer, length, inner, dtype_bits(call.args[0])), "argmax")
    y = relax.call_tir(gv, [flat], relax.TensorType([sizes[0], sizes[2]], "int32"))
    return relax.op.reshape(bb.emit(y), relax.ShapeExpr(list(call.ty.shape.values)))


def build(outer: Any, length: Any, inner: Any, bits: int) -> Any:
    """PrimFunc x [outer, length, inner] -> y [outer, inner]. y itself holds the best place so far."""
    from tvm.tirx.script import builder as T

    with kernel("argmax", "select") as k:
        x = k.arg("x", (outer, length, inner), f"int{bits}")
        y = k.arg("y", (outer, inner), "int32")
        with T.grid(outer, inner, length) as (i, j, t):
            with T.sblock("first_largest"):
                vi, vj = T.axis.spatial(outer, i), T.axis.spatial(inner, j)
                vt = T.axis.reduce(length, t)
                T.reads(x[vi, 0:length, vj])
                T.writes(y[vi, vj])
                with T.init():
                    T.buffer_store(y, T.int32(0), [vi, vj])
                better = fp.i32(x[vi, vt, vj]) > fp.i32(x[vi, y[vi, vj], vj])
                T.buffer_store(y, T.Select(better, T.Cast("int32", vt), y[vi, vj]), [vi, vj])
    return k.result


define("argmax", ["x"], infer, legalize)
