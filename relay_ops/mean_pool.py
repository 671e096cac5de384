"""irnn.mean_pool: Relax op and TIR lowering (formula: irnn_tvm/ops/mean_pool.py)."""

from typing import Any

from tvm import relax

from irnn_tvm.ops.mean_pool import mean_multiplier

from . import fixed_point as fp
from .kernel import kernel
from .normalize import CELLS, ROOT, SHIFT, VALUE, WORK, reciprocal
from .reduction import axis_of, fold_around, size_var, without_axis
from .registry import attr, define, dtype_bits, tensor


def infer(call: Any) -> Any:
    return tensor(without_axis(call), attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    flat, sizes = fold_around(bb, call.args[0], axis_of(call))
    outer, length, inner = (size_var(s, n) for s, n in zip(sizes, ("outer", "length", "inner"), strict=True))
    gv = bb.add_func(build(call, outer, length, inner, dtype_bits(call.args[0])), "mean_pool")
    y = relax.call_tir(gv, [flat], relax.TensorType([sizes[0], sizes[2]], f"int{attr(call, 'out_bits')}"))
    return relax.op.reshape(bb.emit(y), relax.ShapeExpr(list(call.ty.shape.values)))


def build(call: Any, outer: Any, length: Any, inner: Any, in_bits: int) -> Any:
    """PrimFunc x [outer, length, inner] -> y [outer, inner]. A run-time length is inverted once per call."""
    from tvm.tirx.script import builder as T

    in_zp, mult, shift = attr(call, "in_zp"), attr(call, "mult"), attr(call, "shift")
    out_zp, bits = attr(call, "out_zp"), attr(call, "out_bits")
    with kernel("mean_pool", "pool") as k:
        x = k.arg("x", (outer, length, inner), f"int{in_bits}")
        y = k.arg("y", (outer, inner), f"int{bits}")
        cells = None
        if not isinstance(length, int):
            cells = T.sblock_alloc_buffer((CELLS,), "int64")
            with T.sblock("length"):
                T.reads()
                T.writes(cells[0:CELLS])
                reciprocal(cells, T.Cast("int64", length))
                T.buffer_store(
                    cells, T.shift_right(cells[ROOT] * T.int64(mult) + T.int64(1 << 29), T.int64(30)), [VALUE]
                )
                T.buffer_store(cells, cells[SHIFT] + T.int64(shift - 30), [SHIFT])
                T.buffer_store(cells, T.shift_left(T.int64(1), cells[SHIFT] - T.int64(1)), [WORK])
        with T.grid(outer, inner) as (i, j):
            with T.sblock("mean"):
                vi, vj = T.axis.spatial(outer, i), T.axis.spatial(inner, j)
                T.reads(x[vi, 0:length, vj], *([] if cells is None else [cells[0:CELLS]]))
                T.writes(y[vi, vj])
                total = T.sblock_alloc_buffer((1,), "int32")
                T.buffer_store(total, T.int32(0), [0])
                with T.serial(length) as t:
                    T.buffer_store(total, total[0] + (fp.i32(x[vi, t, vj]) - in_zp), [0])
                if cells is None:
                    factor, amount = mean_multiplier(length, mult, shift)
                    value = fp.rescale(fp.i64(total[0]) * fp.const64(factor), amount, out_zp, bits)
                else:
                    wide = fp.i64(total[0]) * cells[VALUE] + cells[WORK]
                    value = fp.saturate(T.shift_right(wide, cells[SHIFT]) + T.int64(out_zp), bits)
                T.buffer_store(y, value, [vi, vj])
    return k.result


define("mean_pool", ["x"], infer, legalize)
