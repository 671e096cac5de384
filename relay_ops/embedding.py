"""irnn.embedding: Relax op and TIR lowering (irnn_tvm/ops/embedding.py). Ids are int32 in a built library."""

from typing import Any

from tvm import relax

from .elementwise import product
from .kernel import kernel
from .registry import define, shape_of, tensor


def infer(call: Any) -> Any:
    return tensor([*shape_of(call.args[0]), shape_of(call.args[1])[1]], 8)


def legalize(bb: Any, call: Any) -> Any:
    from tvm import tirx
    from tvm.tirx.script import builder as T

    ids, table = call.args
    rows = product(shape_of(ids))
    vocabulary, width = (int(d) for d in shape_of(table))
    flat = bb.emit(relax.op.reshape(ids, relax.ShapeExpr([rows])))
    m = rows if isinstance(rows, int | tirx.IntImm) else tirx.Var("m", "int64")
    with kernel("embedding", "gather") as k:
        index = k.arg("ids", (m,), str(ids.ty.dtype))
        w = k.arg("w", (vocabulary, width), "int8")
        y = k.arg("y", (m, width), "int8")
        with T.grid(m, width) as (i, j):
            with T.sblock("row"):
                vi, vj = T.axis.spatial(m, i), T.axis.spatial(width, j)
                T.reads(index[vi], w[0:vocabulary, vj])
                T.writes(y[vi, vj])
                T.buffer_store(y, w[index[vi], vj], [vi, vj])
    gv = bb.add_func(k.result, "embedding")
    out = relax.call_tir(gv, [flat, table], relax.TensorType([rows, width], "int8"))
    return relax.op.reshape(bb.emit(out), relax.ShapeExpr(list(call.ty.shape.values)))


define("embedding", ["ids", "w"], infer, legalize)
