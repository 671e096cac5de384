"""irnn.max_pool: Relax op and TIR lowering (irnn_tvm/ops/max_pool.py)."""

from typing import Any

from tvm import relax

from . import fixed_point as fp
from .kernel import kernel
from .reduction import axis_of, fold_around, size_var, without_axis
from .registry import define, dtype_bits, tensor


def infer(call: Any) -> Any:
    return tensor(without_axis(call), dtype_bits(call.args[0]))


def legalize(bb: Any, call: Any) -> Any:
    flat, sizes = fold_around(bb, call.args[0], axis_of(call))
    outer, length, inner = (size_var(s, n) for s, n in zip(sizes, ("outer", "length", "inner"), strict=True))
    bits = dtype_bits(call.args[0])
    gv = bb.add_func(build(outer, length, inner, bits), "max_pool")
    y = relax.call_tir(gv, [flat], relax.TensorType([sizes[0], sizes[2]], f"int{bits}"))
    return relax.op.reshape(bb.emit(y), relax.ShapeExpr(list(call.ty.shape.values)))


def build(outer: Any, length: Any, inner: Any, bits: int) -> Any:
    """PrimFunc x [outer, length, inner] -> y [outer, inner]."""
    from tvm.tirx.script import builder as T

    dtype, lowest = f"int{bits}", fp.limits(bits)[0]
    with kernel("max_pool", "pool") as k:
        x = k.arg("x", (outer, length, inner), dtype)
        y = k.arg("y", (outer, inner), dtype)
        with T.grid(outer, inner, length) as (i, j, t):
            with T.sblock("largest"):
                vi, vj = T.axis.spatial(outer, i), T.axis.spatial(inner, j)
                vt = T.axis.reduce(length, t)
                T.reads(x[vi, vt, vj])
                T.writes(y[vi, vj])
                with T.init():
                    T.buffer_store(y, T.IntImm(dtype, lowest), [vi, vj])
                T.buffer_store(y, T.max(y[vi, vj], x[vi, vt, vj]), [vi, vj])
    return k.result


define("max_pool", ["x"], infer, legalize)
