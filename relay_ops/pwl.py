"""irnn.pwl: Relax op and TIR lowering (formula: irnn_tvm/ops/pwl.py)."""

from typing import Any

from tvm import relax, tirx

from . import fixed_point as fp
from .elementwise import product
from .kernel import kernel
from .registry import attr, define, dtype_bits, shape_of, tensor


def infer(call: Any) -> Any:
    return tensor(shape_of(call.args[0]), attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    from tvm.tirx.script import builder as T

    x, table = call.args
    shift, bits = attr(call, "shift"), attr(call, "out_bits")
    pieces = int(shape_of(table)[1])
    size = product(shape_of(x))
    flat = bb.emit(relax.op.reshape(x, relax.ShapeExpr([size])))
    m = size if isinstance(size, int | tirx.IntImm) else tirx.Var("m", "int64")
    with kernel("pwl", "pwl") as k:
        inp = k.arg("x", (m,), f"int{dtype_bits(x)}")
        tab = k.arg("table", (3, pieces), "int16")
        out = k.arg("y", (m,), f"int{bits}")
        with T.serial(m) as i:
            with T.sblock("pwl"):
                vi = T.axis.spatial(m, i)
                T.reads(inp[vi], tab[0:3, 0:pieces])
                T.writes(out[vi])
                scratch = T.sblock_alloc_buffer((2,), "int32")
                T.buffer_store(out, fp.pwl(scratch, tab, None, pieces, shift, fp.i32(inp[vi]), bits), [vi])
    gv = bb.add_func(k.result, "pwl")
    y = bb.emit(relax.call_tir(gv, [flat, table], relax.TensorType([size], f"int{bits}")))
    return relax.op.reshape(y, relax.ShapeExpr(shape_of(x)))


define("pwl", ["x", "table"], infer, legalize)
