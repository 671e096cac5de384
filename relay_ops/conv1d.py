"""irnn.conv1d: Relax op and TIR lowering (formula: irnn_tvm/ops/conv1d.py).

Without groups and with an instruction set it is done in tiles (conv1d_tiles.py). Else up to four output channels of a
group share every activation load; outside of the sequence the input's zero point is read instead, so the kernel needs
no padded copy.
"""

from typing import Any

from tvm import relax, tirx
from tvm.sym import Analyzer

from . import fixed_point as fp
from .conv1d_tiles import Windows, build_tiles, conv1d_tiles, scratch
from .kernel import MACS_ATTR, kernel
from .matvec import BLOCK_PREFIX
from .registry import attr, constant, define, shape_of, tensor


def infer(call: Any) -> Any:
    batch, _, length = shape_of(call.args[0])
    out_channels, _, taps = (int(d) for d in shape_of(call.args[1]))
    span = attr(call, "dilation") * (taps - 1) + 1
    padded = length + 2 * attr(call, "padding") - span
    stride = attr(call, "stride")
    steps = tirx.floordiv(padded, stride) + 1 if stride > 1 else padded + 1
    if not isinstance(steps, int):  # "same" padding then shows as the input's own length
        steps = Analyzer().simplify(steps)
    return tensor([batch, out_channels, steps], attr(call, "out_bits"))


def legalize(bb: Any, call: Any) -> Any:
    x, w, bias, mult = call.args
    t_in, t_out = _size(shape_of(x)[2], "t_in"), _size(shape_of(call)[2], "t_out")
    y_type = relax.TensorType(shape_of(call), call.ty.dtype)
    tiles = None
    if attr(call, "groups") == 1:
        named = (("w", w), ("bias", bias), ("mult", mult))
        arrays = [constant(value, bb, f"irnn.conv1d {name}") for name, value in named]
        tiles = conv1d_tiles(*arrays, *(attr(call, n) for n in ("shift", "out_zp", "out_bits")))
    if tiles is None:
        gv = bb.add_func(build(call, t_in, t_out), "conv1d")
        return relax.call_tir(gv, [x, w, bias, mult], y_type)
    batch, channels, _ = shape_of(x)
    places = (attr(call, n) for n in ("stride", "padding", "dilation", "in_zp"))
    windows = Windows(_size(batch, "batch"), int(channels), int(shape_of(w)[2]), *places)
    gv = bb.add_func(build_tiles(windows, tiles, t_in, t_out), "conv1d")
    types = [y_type, *scratch(windows, tiles)]
    return relax.TupleGetItem(bb.emit(relax.call_tir(gv, [x, *tiles.constants], types)), 0)


def _size(dim: Any, name: str) -> Any:
    return int(dim) if isinstance(dim, int | tirx.IntImm) else tirx.Var(name, "int64")


def build(call: Any, t_in: Any, t_out: Any) -> Any:
    """PrimFunc x [B, C, t_in], w [O, C/groups, K], bias, mult [O] -> y [B, O, t_out]."""
    from tvm.tirx.script import builder as T

    batch, channels, _ = shape_of(call.args[0])
    batch, channels = _size(batch, "batch"), int(channels)
    out_channels, per_group, taps = (int(d) for d in shape_of(call.args[1]))
    groups, stride = attr(call, "groups"), attr(call, "stride")
    padding, dilation = attr(call, "padding"), attr(call, "dilation")
    shift, out_zp, bits, in_zp = (attr(call, n) for n in ("shift", "out_zp", "out_bits", "in_zp"))
    per_out = out_channels // groups
    rows = next(r for r in (4, 3, 2, 1) if per_out % r == 0)
    with kernel("conv1d", "conv1d", {MACS_ATTR: out_channels * per_group * taps}) as k:
        x = k.arg("x", (batch, channels, t_in), "int8")
        w = k.arg("w", (out_channels, per_group, taps), "int8")
        bias = k.arg("bias", (out_channels,), "int32")
        mult = k.arg("mult", (out_channels,), "int32")
        y = k.arg("y", (batch, out_channels, t_out), f"int{bits}")
        with T.grid(batch, out_channels // rows, t_out) as (b, j, t):
            with T.sblock("unit"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(out_channels // rows, j)
                vt = T.axis.spatial(t_out, t)
                first = vj * rows
                T.reads(x[vb, 0:channels, 0:t_in], w[first : first + rows, 0:per_group, 0:taps],
                        bias[first : first + rows], mult[first : first + rows])  # fmt: skip
                T.writes(y[vb, first : first + rows, vt])
                acc = T.sblock_alloc_buffer((rows,), "int32")
                with T.grid(rows, per_group, taps) as (g, c, i):
                    with T.sblock(f"{BLOCK_PREFIX}_conv"):
                        vg = T.axis.spatial(rows, g)
                        vc, vi = T.axis.reduce(per_group, c), T.axis.reduce(taps, i)
                        channel = T.floordiv(first, per_out) * per_group + vc
                        at = vt * stride + vi * dilation - padding
                        T.reads(x[vb, channel, 0:t_in], w[first + vg, vc, vi], bias[first + vg])
                        T.writes(acc[vg])
                        with T.init():
                            T.buffer_store(acc, bias[first + vg], [vg])
                        value = x[vb, channel, at]
                        if padding:
                            inside = tirx.all(at >= 0, at < t_in)
                            value = T.if_then_else(inside, value, T.int8(in_zp))
                        product = fp.i32(w[first + vg, vc, vi]) * fp.i32(value)
                        T.buffer_store(acc, acc[vg] + product, [vg])
                with T.sblock("store"):
                    T.reads(acc[0:rows], mult[first : first + rows])
                    T.writes(y[vb, first : first + rows, vt])
                    for g in range(rows):
                        total = fp.i64(acc[g]) * fp.i64(mult[first + g])
                        T.buffer_store(y, fp.rescale(total, shift, out_zp, bits), [vb, first + g, vt])
    return k.result


define("conv1d", ["x", "w", "bias", "mult"], infer, legalize)
