"""irnn.softmax: Relax op and TIR lowering (formula: irnn_tvm/ops/softmax.py)."""

from typing import Any

from tvm import relax

from irnn_tvm.ops.softmax import FRACTION, ZERO_POINT

from . import fixed_point as fp
from .attention import size
from .elementwise import product
from .kernel import kernel
from .lanes import Lanes
from .registry import attr, constant, define, dtype_bits, shape_of, tensor
from .softmax_row import (
    Exponential,
    exponential_lanes,
    exponentials,
    packed_shape,
    packed_table,
    row_cells,
    start_row,
    store_score,
    valid_loop,
    weights,
)


def infer(call: Any) -> Any:
    return tensor(shape_of(call.args[0]), attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    """Folds x to [blocks, rows, N]: a block has one length, a row one causal position."""
    x = call.args[0]
    shape = shape_of(x)
    causal, has_lengths = bool(attr(call, "causal")), bool(attr(call, "has_lengths"))
    lead = shape[:-1]
    if causal:  # rows are the second last axis; lengths belong to the first
        blocks, rows = product(lead[:-1]), lead[-1]
    else:
        blocks, rows = (lead[0], product(lead[1:])) if has_lengths else (1, product(lead))
    per_length = product(lead[1:-1]) if causal and has_lengths else 1
    flat = bb.emit(relax.op.reshape(x, relax.ShapeExpr([blocks, rows, shape[-1]])))
    table = constant(call.args[-1], bb, "irnn.softmax table")
    lanes = exponential_lanes(table, 1 << dtype_bits(x))
    sizes = [size(d, name) for d, name in ((blocks, "blocks"), (rows, "rows"), (shape[-1], "n"))]
    func = build(call, sizes, int(per_length), lanes)
    args = [*call.args[1:-1], relax.const(packed_table(table, lanes), "int16")]
    gv = bb.add_func(func, "softmax")
    bits = attr(call, "out_bits")
    outs = [
        relax.TensorType([blocks, rows, shape[-1]], f"int{bits}"),
        relax.TensorType([shape[-1]], "int32"),
    ]
    y = bb.emit(relax.TupleGetItem(bb.emit(relax.call_tir(gv, [flat, *args], outs)), 0))
    return relax.op.reshape(y, relax.ShapeExpr(shape))


def build(call: Any, sizes: list[Any], per_length: int, lanes: Lanes | None) -> Any:
    """PrimFunc x [blocks, rows, N], (lengths [blocks / per_length]), table -> y, scores [N] (scratch)."""
    from tvm.tirx.script import builder as T

    blocks, rows, n = sizes
    causal, has_lengths = bool(attr(call, "causal")), bool(attr(call, "has_lengths"))
    bits, pieces = attr(call, "out_bits"), int(shape_of(call.args[-1])[1])
    with kernel("softmax", "softmax", outputs=2) as k:
        x = k.arg("x", (blocks, rows, n), f"int{dtype_bits(call.args[0])}")
        count = int(shape_of(call.args[1])[0]) if has_lengths else 0
        lengths = k.arg("lengths", (count,), "int32") if has_lengths else None
        shape = packed_shape(pieces, lanes)
        table = k.arg("table", shape, "int16")
        y = k.arg("y", (blocks, rows, n), f"int{bits}")
        scores = k.arg("scores", (n,), "int32")
        exp = Exponential.of(call, table, pieces, lanes)
        with T.grid(blocks, rows) as (b, i):
            with T.sblock("row"):
                vb, vi = T.axis.spatial(blocks, b), T.axis.spatial(rows, i)
                own = T.floordiv(vb, per_length) if per_length > 1 else vb
                if causal and len(shape_of(call.args[0])) == 2:  # every row is a sequence of its own
                    own = vi
                more = [lengths[own]] if lengths is not None else []
                T.reads(x[vb, vi, 0:n], table[0 : shape[0], 0 : shape[1]], *more)
                T.writes(y[vb, vi, 0:n], scores[0:n])
                cells = row_cells()
                start_row(cells, n, lengths[own] if lengths is not None else None, vi if causal else None)
                valid_loop(cells, lambda j: store_score(cells, scores, j, fp.i32(x[vb, vi, j])))
                exponentials(cells, scores, exp)
                zero = ZERO_POINT[bits]
                with T.serial(n) as j:
                    T.buffer_store(y, T.IntImm(f"int{bits}", zero), [vb, vi, j])

                def store(these: Lanes, first: Any, values: Any) -> None:
                    value = fp.saturate(values + these.wide(T.int32(zero)), bits)
                    these.store(y, value, vb, vi, first)

                weights(cells, scores, lanes, FRACTION[bits], store)
    return k.result


define("softmax", ["x", "lengths", "table"], infer, legalize)
