"""irnn.max_pool1d: Relax op and TIR lowering (irnn_tvm/ops/max_pool1d.py)."""

from typing import Any

from tvm import tirx

from . import fixed_point as fp
from .kernel import kernel
from .registry import attr, define, dtype_bits
from .windows import call_rows, window_type


def infer(call: Any) -> Any:
    return window_type(call, attr(call, "dilation"), dtype_bits(call.args[0]))


def legalize(bb: Any, call: Any) -> Any:
    return call_rows(bb, call, lambda rows, t_in, t_out: build(call, rows, t_in, t_out), "max_pool1d")


def build(call: Any, rows: Any, t_in: Any, t_out: Any) -> Any:
    """PrimFunc x [rows, t_in] -> y [rows, t_out]."""
    from tvm.tirx.script import builder as T

    taps, stride, padding, dilation = (attr(call, n) for n in ("kernel", "stride", "padding", "dilation"))
    bits = dtype_bits(call.args[0])
    dtype, lowest = f"int{bits}", fp.limits(bits)[0]
    with kernel("max_pool1d", "pool") as k:
        x = k.arg("x", (rows, t_in), dtype)
        y = k.arg("y", (rows, t_out), dtype)
        with T.grid(rows, t_out, taps) as (r, t, i):
            with T.sblock("largest"):
                vr, vt = T.axis.spatial(rows, r), T.axis.spatial(t_out, t)
                vi = T.axis.reduce(taps, i)
                T.reads(x[vr, 0:t_in])
                T.writes(y[vr, vt])
                with T.init():
                    T.buffer_store(y, T.IntImm(dtype, lowest), [vr, vt])
                at = vt * stride + vi * dilation - padding
                value = x[vr, at]
                if padding:
                    value = T.if_then_else(tirx.all(at >= 0, at < t_in), value, T.IntImm(dtype, lowest))
                T.buffer_store(y, T.max(y[vr, vt], value), [vr, vt])
    return k.result


define("max_pool1d", ["x"], infer, legalize)
