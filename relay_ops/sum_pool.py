"""irnn.sum_pool: Relax op and TIR lowering (formula: irnn_tvm/ops/sum_pool.py)."""

from typing import Any

from tvm import relax

from . import fixed_point as fp
from .kernel import kernel
from .mean_pool import infer
from .reduction import axis_of, fold_around, size_var
from .registry import attr, define, dtype_bits


def legalize(bb: Any, call: Any) -> Any:
    flat, sizes = fold_around(bb, call.args[0], axis_of(call))
    outer, length, inner = (size_var(s, n) for s, n in zip(sizes, ("outer", "length", "inner"), strict=True))
    gv = bb.add_func(build(call, outer, length, inner, dtype_bits(call.args[0])), "sum_pool")
    y = relax.call_tir(gv, [flat], relax.TensorType([sizes[0], sizes[2]], f"int{attr(call, 'out_bits')}"))
    return relax.op.reshape(bb.emit(y), relax.ShapeExpr(list(call.ty.shape.values)))


def build(call: Any, outer: Any, length: Any, inner: Any, in_bits: int) -> Any:
    """PrimFunc x [outer, length, inner] -> y [outer, inner]."""
    from tvm.tirx.script import builder as T

    in_zp, mult, shift = attr(call, "in_zp"), attr(call, "mult"), attr(call, "shift")
    out_zp, bits = attr(call, "out_zp"), attr(call, "out_bits")
    with kernel("sum_pool", "pool") as k:
        x = k.arg("x", (outer, length, inner), f"int{in_bits}")
        y = k.arg("y", (outer, inner), f"int{bits}")
        with T.grid(outer, inner) as (i, j):
            with T.sblock("sum"):
                vi, vj = T.axis.spatial(outer, i), T.axis.spatial(inner, j)
                T.reads(x[vi, 0:length, vj])
                T.writes(y[vi, vj])
                total = T.sblock_alloc_buffer((1,), "int32")
                T.buffer_store(total, T.int32(0), [0])
                with T.serial(length) as t:
                    T.buffer_store(total, total[0] + (fp.i32(x[vi, t, vj]) - in_zp), [0])
                product = fp.i64(total[0]) * fp.const64(mult)
                T.buffer_store(y, fp.rescale(product, shift, out_zp, bits), [vi, vj])
    return k.result


define("sum_pool", ["x"], infer, legalize)
