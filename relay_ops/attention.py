"""irnn.attention: Relax op and TIR lowering (formula: irnn_tvm/ops/attention.py).

One query row of one head at a time: its scores, exponentials and weights share one int32 row of Tk elements in the
arena, so no tensor of the size Tq * Tk exists.
"""

from typing import Any

from tvm import relax, tirx

from irnn_tvm.ops.softmax import WEIGHT_BITS

from . import fixed_point as fp
from .kernel import MACS_ATTR, kernel
from .lanes import Lanes
from .registry import attr, constant, define, shape_of, tensor
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
    q, v = shape_of(call.args[0]), shape_of(call.args[2])
    return tensor([q[0], q[1], v[2]], attr(call, "out_bits"))


def size(dim: Any, name: str) -> Any:
    """A static size as an int, a run-time one as a new variable of the kernel."""
    return int(dim) if isinstance(dim, int | tirx.IntImm) else tirx.Var(name, "int64")


def legalize(bb: Any, call: Any) -> Any:
    k, v = call.args[1:3]
    head = int(shape_of(v)[2]) // attr(call, "heads")
    table = constant(call.args[-1], bb, "irnn.attention table")
    depth = int(shape_of(k)[2]) // attr(call, "heads")
    lanes = exponential_lanes(table, 2 * 255 * 128 * depth)
    gv = bb.add_func(build(call, lanes), "attention")
    outs = [
        relax.TensorType(shape_of(call), call.ty.dtype),
        relax.TensorType([shape_of(k)[1]], "int32"),
        relax.TensorType([head], "int32"),
    ]
    args = [*call.args[:-1], relax.const(packed_table(table, lanes), "int16")]
    return relax.TupleGetItem(bb.emit(relax.call_tir(gv, args, outs)), 0)


def build(call: Any, lanes: Lanes | None) -> Any:
    """PrimFunc q [B, Tq, D], k [B, Tk, D], v [B, Tk, V], (lengths [B]), table -> y [B, Tq, V], scores [Tk], sums.

    The last two are scratch; sums has one element per feature of a head.
    """
    from tvm.tirx.script import builder as T

    (batch, tq, width), (_, tk, value_width) = shape_of(call.args[0]), shape_of(call.args[2])
    batch, width, value_width = int(batch), int(width), int(value_width)
    tq, tk = size(tq, "tq"), size(tk, "tk")
    heads, causal = attr(call, "heads"), bool(attr(call, "causal"))
    depth, head = width // heads, value_width // heads
    has_lengths = bool(attr(call, "has_lengths"))
    pieces = int(shape_of(call.args[-1])[1])
    q_zp, v_zp, bits = attr(call, "q_zp"), attr(call, "v_zp"), attr(call, "out_bits")
    steps = 1 if not isinstance(tk, int) else tk
    with kernel("attention", "attention", {MACS_ATTR: batch * steps * (width + value_width)}, 3) as kern:
        q = kern.arg("q", (batch, tq, width), "int8")
        k = kern.arg("k", (batch, tk, width), "int8")
        v = kern.arg("v", (batch, tk, value_width), "int8")
        count = int(shape_of(call.args[3])[0]) if has_lengths else batch
        lengths = kern.arg("lengths", (count,), "int32") if has_lengths else None
        shape = packed_shape(pieces, lanes)
        table = kern.arg("table", shape, "int16")
        y = kern.arg("y", (batch, tq, value_width), f"int{bits}")
        scores = kern.arg("scores", (tk,), "int32")
        sums = kern.arg("sums", (head,), "int32")
        exp = Exponential.of(call, table, pieces, lanes)
        with T.grid(batch, tq, heads) as (b, i, h):
            with T.sblock("row"):
                vb, vi, vh = T.axis.spatial(batch, b), T.axis.spatial(tq, i), T.axis.spatial(heads, h)
                reads = [q[vb, vi, vh * depth : vh * depth + depth], k[vb, 0:tk, vh * depth : vh * depth + depth],
                         v[vb, 0:tk, vh * head : vh * head + head], table[0 : shape[0], 0 : shape[1]]]  # fmt: skip
                own = vb if count == batch else T.floordiv(vb, batch // count)
                T.reads(*reads, *([lengths[own]] if lengths is not None else []))
                T.writes(y[vb, vi, vh * head : vh * head + head], scores[0:tk], sums[0:head])
                cells = row_cells()
                acc = T.sblock_alloc_buffer((1,), "int32")
                start_row(cells, tk, lengths[own] if lengths is not None else None, vi if causal else None)

                def score(j: Any) -> None:
                    T.buffer_store(acc, T.int32(0), [0])
                    with T.serial(depth) as d:
                        left = fp.i32(q[vb, vi, vh * depth + d]) - T.int32(q_zp)
                        T.buffer_store(acc, acc[0] + left * fp.i32(k[vb, j, vh * depth + d]), [0])
                    store_score(cells, scores, j, acc[0])

                valid_loop(cells, score)
                exponentials(cells, scores, exp)
                with T.serial(head) as d:
                    T.buffer_store(sums, T.int32(0), [d])

                def store_weights(these: Lanes, first: Any, values: Any) -> None:
                    these.store(scores, values, first)

                weights(cells, scores, lanes, WEIGHT_BITS, store_weights)

                def add(j: Any) -> None:
                    T.buffer_store(acc, scores[j], [0])
                    with T.serial(head) as d:
                        right = fp.i32(v[vb, j, vh * head + d]) - T.int32(v_zp)
                        T.buffer_store(sums, sums[d] + acc[0] * right, [d])

                valid_loop(cells, add)
                with T.serial(head) as d:
                    total = fp.i64(sums[d]) * fp.const64(attr(call, "out_mult"))
                    value = fp.rescale(total, attr(call, "out_shift"), attr(call, "out_zp"), bits)
                    T.buffer_store(y, value, [vb, vi, vh * head + d])
    return kern.result


define("attention", ["q", "k", "v", "lengths", "table"], infer, legalize)
