"""irnn.gru: Relax op and TIR lowering of one step (formula: irnn_tvm/ops/gru.py).

Reset after the product: one pass over weights packed [H][3 gates][X + H]. Reset before it: the r and z rows of all
units first (they need nothing else), then the n rows, whose input r*h needs every r.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from . import fixed_point as fp
from . import requantize
from .kernel import MACS_ATTR, kernel
from .lstm import pack_gates
from .matvec import dot_rows
from .registry import attr, constant, define, shape_of, tensor
from .registry import call as irnn_call
from .scan import emit_scan

GATES = 3


def infer(call: Any) -> Any:
    steps, batch, _ = shape_of(call.args[0])
    hidden = shape_of(call.args[1])[1]
    return relax.TupleType(
        [tensor([steps, batch, hidden], 8), tensor([batch, hidden], attr(call, "state_bits"))]
    )


def legalize(bb: Any, call: Any) -> Any:
    x, h0 = call.args[:2]
    names = ("w_ih", "w_hh", "bias", "bias_hn", "mult_ih", "mult_hh")
    w_ih, w_hh, bias, bias_hn, mult_ih, mult_hh = (
        constant(a, bb, f"irnn.gru {n}") for a, n in zip(call.args[2:8], names, strict=True)
    )
    tables = call.args[8]
    batch, hidden = (int(d) for d in shape_of(h0))
    reset_after = bool(attr(call, "reset_after"))
    weights = np.concatenate([pack_gates(w_ih, GATES), pack_gates(w_hh, GATES)], axis=2)
    constants = []
    if reset_after:
        constants.append(relax.const(np.ascontiguousarray(weights), "int8"))
    else:
        constants.append(relax.const(np.ascontiguousarray(weights[:, :2]), "int8"))
        constants.append(relax.const(np.ascontiguousarray(weights[:, 2]), "int8"))
    constants += [relax.const(pack_gates(a, GATES), "int32") for a in (bias, mult_ih, mult_hh)]
    if reset_after:
        constants.append(relax.const(bias_hn, "int32"))
    constants.append(tables)
    # The products see an int8 copy of the state; for the first step it is made here, later it is the last output.
    copy = irnn_call("requantize", [h0], {
        "in_zp": attr(call, "state_zp"), "mult": attr(call, "out_mult"), "shift": attr(call, "out_shift"),
        "out_zp": attr(call, "out_zp"), "out_bits": 8,
    })  # fmt: skip
    h8 = bb.emit(requantize.legalize(bb, bb.normalize(copy)))
    width, pieces = int(shape_of(x)[2]), int(shape_of(tables)[2])
    build = build_reset_after if reset_after else build_reset_before
    gate = f"int{attr(call, 'gate_bits')}"
    scratch = (
        []
        if reset_after
        else [relax.TensorType([batch, hidden], "int8"), relax.TensorType([batch, hidden], gate)]
    )
    outs = emit_scan(
        bb,
        build(call, batch, width, hidden, pieces),
        "gru_step" if reset_after else "gru_before_step",
        x,
        h8,
        [h0],
        constants,
        call.ty.fields[0],
        scratch,
        last_y=False,
        reverse=bool(attr(call, "reverse")),
    )
    return relax.Tuple(outs)


class _Scalars:
    """Scalar attributes of the call and the pieces of the update that both variants share."""

    def __init__(self, call: Any, tables: Any, pieces: int) -> None:
        self.call, self.tables, self.pieces = call, tables, pieces
        self.bits = attr(call, "gate_bits")

    def activate(self, scratch: Any, acc: Any, gate: int) -> Any:
        """Activation of gate 0 (r), 1 (z) or 2 (n), minus its zero point, as int32."""
        call = self.call
        pre = fp.rescale(acc, attr(call, "gate_shift")[gate], attr(call, "gate_zp")[gate], self.bits)
        shift = attr(call, "table_shift")[gate]
        value = fp.pwl(scratch, self.tables, gate, self.pieces, shift, fp.i32(pre), self.bits)
        return fp.i32(value) - attr(call, "act_zp")[gate]

    def state(self, z: Any, n: Any, h_real: Any) -> Any:
        call = self.call
        new = fp.i64((attr(call, "z_one") - z) * n) * fp.const64(attr(call, "n_mult"))
        keep = fp.i64(z * h_real) * fp.const64(attr(call, "h_mult"))
        return fp.rescale(
            new + keep, attr(call, "state_shift"), attr(call, "state_zp"), attr(call, "state_bits")
        )

    def output(self, state: Any) -> Any:
        call = self.call
        product = fp.i64(state - attr(call, "state_zp")) * fp.const64(attr(call, "out_mult"))
        return fp.rescale(product, attr(call, "out_shift"), attr(call, "out_zp"), 8)


def build_reset_after(call: Any, batch: int, width: int, hidden: int, pieces: int) -> Any:
    """PrimFunc of one step with r applied to U h (PyTorch's nn.GRU)."""
    from tvm.tirx.script import builder as T

    depth, bits, state_bits = width + hidden, attr(call, "gate_bits"), attr(call, "state_bits")
    with kernel("gru_step", "recurrent_step", {MACS_ATTR: batch * hidden * GATES * depth}, 2) as k:
        x = k.arg("x", (batch, width), "int8")
        h8 = k.arg("h8", (batch, hidden), "int8")
        h = k.arg("h", (batch, hidden), f"int{state_bits}")
        w = k.arg("w", (hidden, GATES, depth), "int8")
        bias = k.arg("bias", (hidden, GATES), "int32")
        m_ih = k.arg("mult_ih", (hidden, GATES), "int32")
        m_hh = k.arg("mult_hh", (hidden, GATES), "int32")
        bias_hn = k.arg("bias_hn", (hidden,), "int32")
        tables = k.arg("tables", (GATES, 3, pieces), "int16")
        y = k.arg("y", (batch, hidden), "int8")
        h_out = k.arg("h_out", (batch, hidden), f"int{state_bits}")
        with T.grid(batch, hidden) as (b, j):
            with T.sblock("unit"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(hidden, j)
                T.reads(x[vb, 0:width], h8[vb, 0:hidden], h[vb, vj], w[vj, 0:GATES, 0:depth], bias[vj, 0:GATES],
                        bias_hn[vj], m_ih[vj, 0:GATES], m_hh[vj, 0:GATES],
                        tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                T.writes(y[vb, vj], h_out[vb, vj])
                acc_x = T.sblock_alloc_buffer((GATES,), "int32")
                acc_h = T.sblock_alloc_buffer((GATES,), "int32")
                act = T.sblock_alloc_buffer((GATES + 1,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")
                dot_rows("x", acc_x, GATES, width, (w, lambda g, i: (vj, g, i)), (x, lambda i: (vb, i)),
                         (bias, lambda g: (vj, g)))  # fmt: skip
                dot_rows("h", acc_h, GATES, hidden, (w, lambda g, i: (vj, g, width + i)), (h8, lambda i: (vb, i)),
                         None)  # fmt: skip
                with T.sblock("update"):
                    T.reads(acc_x[0:GATES], acc_h[0:GATES], h[vb, vj], bias_hn[vj], m_ih[vj, 0:GATES],
                            m_hh[vj, 0:GATES], tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                    T.writes(y[vb, vj], h_out[vb, vj])
                    s = _Scalars(call, tables, pieces)
                    for g in range(2):
                        acc = fp.i64(acc_x[g]) * fp.i64(m_ih[vj, g]) + fp.i64(acc_h[g]) * fp.i64(m_hh[vj, g])
                        T.buffer_store(act, s.activate(scratch, acc, g), [g])
                    hn = fp.i64(acc_h[2] + bias_hn[vj]) * fp.i64(m_hh[vj, 2])
                    T.buffer_store(act, fp.i32(fp.rescale(hn, attr(call, "hn_shift"), 0, bits)), [3])
                    gated = fp.i64(act[0] * act[3]) * fp.const64(attr(call, "rn_mult"))
                    acc = fp.i64(acc_x[2]) * fp.i64(m_ih[vj, 2]) + gated
                    T.buffer_store(act, s.activate(scratch, acc, 2), [2])
                    state = s.state(act[1], act[2], fp.i32(h[vb, vj]) - attr(call, "state_zp"))
                    T.buffer_store(act, fp.i32(state), [3])
                    T.buffer_store(h_out, T.Cast(f"int{state_bits}", act[3]), [vb, vj])
                    T.buffer_store(y, s.output(act[3]), [vb, vj])
    return k.result


def build_reset_before(call: Any, batch: int, width: int, hidden: int, pieces: int) -> Any:
    """PrimFunc of one step with r applied to h before the product (Keras reset_after=False)."""
    from tvm.tirx.script import builder as T

    depth, bits, state_bits = width + hidden, attr(call, "gate_bits"), attr(call, "state_bits")
    state_zp = attr(call, "state_zp")
    with kernel("gru_before_step", "recurrent_step", {MACS_ATTR: batch * hidden * GATES * depth}, 4) as k:
        x = k.arg("x", (batch, width), "int8")
        h8 = k.arg("h8", (batch, hidden), "int8")
        h = k.arg("h", (batch, hidden), f"int{state_bits}")
        w_rz = k.arg("w_rz", (hidden, 2, depth), "int8")
        w_n = k.arg("w_n", (hidden, depth), "int8")
        bias = k.arg("bias", (hidden, GATES), "int32")
        m_ih = k.arg("mult_ih", (hidden, GATES), "int32")
        m_hh = k.arg("mult_hh", (hidden, GATES), "int32")
        tables = k.arg("tables", (GATES, 3, pieces), "int16")
        y = k.arg("y", (batch, hidden), "int8")
        h_out = k.arg("h_out", (batch, hidden), f"int{state_bits}")
        rh = k.arg("rh", (batch, hidden), "int8")
        z = k.arg("z", (batch, hidden), f"int{bits}")
        s = _Scalars(call, tables, pieces)
        with T.grid(batch, hidden) as (b, j):
            with T.sblock("unit_rz"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(hidden, j)
                T.reads(x[vb, 0:width], h8[vb, 0:hidden], h[vb, vj], w_rz[vj, 0:2, 0:depth], bias[vj, 0:2],
                        m_ih[vj, 0:2], m_hh[vj, 0:2], tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                T.writes(rh[vb, vj], z[vb, vj])
                acc_x = T.sblock_alloc_buffer((2,), "int32")
                acc_h = T.sblock_alloc_buffer((2,), "int32")
                act = T.sblock_alloc_buffer((1,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")
                dot_rows("x_rz", acc_x, 2, width, (w_rz, lambda g, i: (vj, g, i)), (x, lambda i: (vb, i)),
                         (bias, lambda g: (vj, g)))  # fmt: skip
                dot_rows("h_rz", acc_h, 2, hidden, (w_rz, lambda g, i: (vj, g, width + i)), (h8, lambda i: (vb, i)),
                         None)  # fmt: skip
                with T.sblock("gates_rz"):
                    T.reads(acc_x[0:2], acc_h[0:2], h[vb, vj], m_ih[vj, 0:2], m_hh[vj, 0:2],
                            tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                    T.writes(rh[vb, vj], z[vb, vj])
                    acc = fp.i64(acc_x[0]) * fp.i64(m_ih[vj, 0]) + fp.i64(acc_h[0]) * fp.i64(m_hh[vj, 0])
                    T.buffer_store(act, s.activate(scratch, acc, 0), [0])
                    product = fp.i64(act[0] * (fp.i32(h[vb, vj]) - state_zp)) * fp.const64(
                        attr(call, "rh_mult")
                    )
                    value = fp.rescale(product, attr(call, "rh_shift"), attr(call, "rh_zp"), 8)
                    T.buffer_store(rh, value, [vb, vj])
                    acc = fp.i64(acc_x[1]) * fp.i64(m_ih[vj, 1]) + fp.i64(acc_h[1]) * fp.i64(m_hh[vj, 1])
                    gate = s.activate(scratch, acc, 1) + attr(call, "act_zp")[1]
                    T.buffer_store(z, T.Cast(f"int{bits}", gate), [vb, vj])
        with T.grid(batch, hidden) as (b, j):
            with T.sblock("unit_n"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(hidden, j)
                T.reads(x[vb, 0:width], rh[vb, 0:hidden], z[vb, vj], h[vb, vj], w_n[vj, 0:depth], bias[vj, 2],
                        m_ih[vj, 2], m_hh[vj, 2], tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                T.writes(y[vb, vj], h_out[vb, vj])
                acc_x = T.sblock_alloc_buffer((1,), "int32")
                acc_h = T.sblock_alloc_buffer((1,), "int32")
                act = T.sblock_alloc_buffer((2,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")
                dot_rows("x_n", acc_x, 1, width, (w_n, lambda g, i: (vj, i)), (x, lambda i: (vb, i)),
                         (bias, lambda g: (vj, g + 2)))  # fmt: skip
                dot_rows("h_n", acc_h, 1, hidden, (w_n, lambda g, i: (vj, width + i)), (rh, lambda i: (vb, i)),
                         None)  # fmt: skip
                with T.sblock("update"):
                    T.reads(acc_x[0], acc_h[0], z[vb, vj], h[vb, vj], m_ih[vj, 2], m_hh[vj, 2],
                            tables[0:GATES, 0:3, 0:pieces])  # fmt: skip
                    T.writes(y[vb, vj], h_out[vb, vj])
                    acc = fp.i64(acc_x[0]) * fp.i64(m_ih[vj, 2]) + fp.i64(acc_h[0]) * fp.i64(m_hh[vj, 2])
                    T.buffer_store(act, s.activate(scratch, acc, 2), [0])
                    z_real = fp.i32(z[vb, vj]) - attr(call, "act_zp")[1]
                    state = s.state(z_real, act[0], fp.i32(h[vb, vj]) - state_zp)
                    T.buffer_store(act, fp.i32(state), [1])
                    T.buffer_store(h_out, T.Cast(f"int{state_bits}", act[1]), [vb, vj])
                    T.buffer_store(y, s.output(act[1]), [vb, vj])
    return k.result


define(
    "gru",
    ["x", "h0", "w_ih", "w_hh", "bias", "bias_hn", "mult_ih", "mult_hh", "tables"],
    infer,
    legalize,
)
