"""irnn.conv1d: Relax op and TIR lowering (formula: irnn_tvm/ops/conv1d.py)."""

from typing import Any

from tvm import te, tirx

from . import fixed_point as fp
from .kernel import FAMILY_ATTR, MACS_ATTR
from .registry import attr, define, shape_of, tensor


def infer(call: Any) -> Any:
    batch, _, length = shape_of(call.args[0])
    out_channels, _, taps = (int(d) for d in shape_of(call.args[1]))
    span = attr(call, "dilation") * (taps - 1) + 1
    padded = length + 2 * attr(call, "padding") - span
    stride = attr(call, "stride")
    steps = tirx.floordiv(padded, stride) + 1 if stride > 1 else padded + 1
    return tensor([batch, out_channels, steps], attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    x, w, bias, mult = call.args
    out_channels, per_group, taps = (int(d) for d in shape_of(w))
    groups, stride = attr(call, "groups"), attr(call, "stride")
    padding, dilation = attr(call, "padding"), attr(call, "dilation")
    shift, out_zp, bits, in_zp = (attr(call, n) for n in ("shift", "out_zp", "out_bits", "in_zp"))
    out_per_group = out_channels // groups
    out_type = call.ty

    def compute(x: Any, w: Any, bias: Any, mult: Any) -> Any:
        length = x.shape[2]
        c = te.reduce_axis((0, per_group), name="c")
        k = te.reduce_axis((0, taps), name="k")

        def product(b: Any, o: Any, t: Any) -> Any:
            at = t * stride + k * dilation - padding
            value = x[b, (o // out_per_group) * per_group + c, at]
            if padding:
                inside = tirx.all(at >= 0, at < length)
                value = tirx.if_then_else(inside, value, tirx.const(in_zp, "int8"))
            return te.sum(fp.i32(value) * fp.i32(w[o, c, k]), axis=[c, k])

        shape = list(out_type.shape.values)
        acc = te.compute(shape, product, name="dot_conv")
        return te.compute(
            shape,
            lambda b, o, t: fp.rescale(fp.i64(acc[b, o, t] + bias[o]) * fp.i64(mult[o]), shift, out_zp, bits),
            name="conv1d",
        )

    macs = out_channels * per_group * taps
    return bb.call_te(
        compute,
        x,
        w,
        bias,
        mult,
        primfunc_name_hint="conv1d",
        primfunc_attrs={FAMILY_ATTR: "conv1d", MACS_ATTR: macs},
    )


define("conv1d", ["x", "w", "bias", "mult"], infer, legalize)
