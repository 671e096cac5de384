"""irnn.avg_pool1d: Relax op and TIR lowering (formula: irnn_tvm/ops/avg_pool1d.py)."""

from typing import Any

from tvm import tirx

from . import fixed_point as fp
from .kernel import kernel
from .registry import attr, define, dtype_bits
from .windows import call_rows, window_type


def infer(call: Any) -> Any:
    return window_type(call, 1, attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    return call_rows(bb, call, lambda rows, t_in, t_out: build(call, rows, t_in, t_out), "avg_pool1d")


def build(call: Any, rows: Any, t_in: Any, t_out: Any) -> Any:
    """PrimFunc x [rows, t_in] -> y [rows, t_out]."""
    from tvm.tirx.script import builder as T

    taps, stride, padding = (attr(call, n) for n in ("kernel", "stride", "padding"))
    in_zp, mult, shift = (attr(call, n) for n in ("in_zp", "mult", "shift"))
    out_zp, bits = attr(call, "out_zp"), attr(call, "out_bits")
    with kernel("avg_pool1d", "pool") as k:
        x = k.arg("x", (rows, t_in), f"int{dtype_bits(call.args[0])}")
        y = k.arg("y", (rows, t_out), f"int{bits}")
        with T.grid(rows, t_out) as (r, t):
            with T.sblock("window"):
                vr, vt = T.axis.spatial(rows, r), T.axis.spatial(t_out, t)
                T.reads(x[vr, 0:t_in])
                T.writes(y[vr, vt])
                total = T.sblock_alloc_buffer((1,), "int32")
                with T.serial(taps) as i:
                    with T.sblock("sum"):
                        vi = T.axis.reduce(taps, i)
                        T.reads(x[vr, 0:t_in])
                        T.writes(total[0])
                        with T.init():
                            T.buffer_store(total, T.int32(0), [0])
                        at = vt * stride + vi - padding
                        value = fp.i32(x[vr, at]) - in_zp
                        if padding:
                            value = T.if_then_else(tirx.all(at >= 0, at < t_in), value, T.int32(0))
                        T.buffer_store(total, total[0] + value, [0])
                with T.sblock("store"):
                    T.reads(total[0])
                    T.writes(y[vr, vt])
                    product = fp.i64(total[0]) * fp.const64(mult)
                    T.buffer_store(y, fp.rescale(product, shift, out_zp, bits), [vr, vt])
    return k.result


define("avg_pool1d", ["x"], infer, legalize)
