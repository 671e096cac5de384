"""irnn.additive_scores: Relax op and TIR lowering (formula: irnn_tvm/ops/additive_scores.py)."""

from typing import Any

from tvm import relax

from . import fixed_point as fp
from .attention import size
from .kernel import MACS_ATTR, kernel
from .registry import attr, define, dtype_bits, shape_of, tensor


def infer(call: Any) -> Any:
    q, k = shape_of(call.args[0]), shape_of(call.args[1])
    return tensor([q[0], q[1], k[1]], attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    gv = bb.add_func(build(call), "additive_scores")
    return relax.call_tir(gv, list(call.args), relax.TensorType(shape_of(call), call.ty.dtype))


def build(call: Any) -> Any:
    """PrimFunc q [B, Tq, H], k [B, Tk, H], weight [H], table [3, P] -> y [B, Tq, Tk]."""
    from tvm.tirx.script import builder as T

    (batch, tq, width), tk = shape_of(call.args[0]), shape_of(call.args[1])[1]
    batch, width, pieces = int(batch), int(width), int(shape_of(call.args[3])[1])
    tq, tk = size(tq, "tq"), size(tk, "tk")
    names = (
        "q_zp",
        "k_zp",
        "q_mult",
        "k_mult",
        "pre_shift",
        "pre_zp",
        "pre_bits",
        "table_shift",
        "mult",
        "shift",
        "out_zp",
    )
    q_zp, k_zp, q_mult, k_mult, pre_shift, pre_zp, pre_bits, table_shift, mult, shift, out_zp = (
        attr(call, n) for n in names
    )
    bits = attr(call, "out_bits")
    steps = tk if isinstance(tk, int) else 1
    with kernel("additive_scores", "attention", {MACS_ATTR: batch * steps * width}) as kern:
        q = kern.arg("q", (batch, tq, width), f"int{dtype_bits(call.args[0])}")
        k = kern.arg("k", (batch, tk, width), f"int{dtype_bits(call.args[1])}")
        weight = kern.arg("weight", (width,), "int8")
        table = kern.arg("table", (3, pieces), "int16")
        y = kern.arg("y", (batch, tq, tk), f"int{bits}")
        with T.grid(batch, tq, tk) as (b, i, j):
            with T.sblock("score"):
                vb, vi, vj = T.axis.spatial(batch, b), T.axis.spatial(tq, i), T.axis.spatial(tk, j)
                T.reads(q[vb, vi, 0:width], k[vb, vj, 0:width], weight[0:width], table[0:3, 0:pieces])
                T.writes(y[vb, vi, vj])
                acc = T.sblock_alloc_buffer((1,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")
                T.buffer_store(acc, T.int32(0), [0])
                with T.serial(width) as h:
                    left = fp.i64(fp.i32(q[vb, vi, h]) - T.int32(q_zp)) * fp.const64(q_mult)
                    right = fp.i64(fp.i32(k[vb, vj, h]) - T.int32(k_zp)) * fp.const64(k_mult)
                    pre = fp.i32(fp.rescale(left + right, pre_shift, pre_zp, pre_bits))
                    value = fp.pwl(scratch, table, None, pieces, table_shift, pre, 8)
                    T.buffer_store(acc, acc[0] + fp.i32(weight[h]) * fp.i32(value), [0])
                T.buffer_store(
                    y, fp.rescale(fp.i64(acc[0]) * fp.const64(mult), shift, out_zp, bits), [vb, vi, vj]
                )
    return kern.result


define("additive_scores", ["q", "k", "weight", "table"], infer, legalize)
