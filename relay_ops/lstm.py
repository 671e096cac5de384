"""irnn.lstm: Relax op and TIR lowering of one step (formula: irnn_tvm/ops/lstm.py).

Weights are packed [H][4 gates][X + H]: one pass over them in memory order feeds the four dot products, the rescale,
the activations and the cell update of a unit, so nothing but h and c leaves registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from . import fixed_point as fp
from .kernel import MACS_ATTR, kernel
from .matvec import dot_rows
from .registry import attr, constant, define, shape_of, tensor
from .scan import emit_scan

GATES = 4


def infer(call: Any) -> Any:
    steps, batch, _ = shape_of(call.args[0])
    hidden = shape_of(call.args[1])[1]
    return relax.TupleType(
        [
            tensor([steps, batch, hidden], 8),
            tensor([batch, hidden], 8),
            tensor([batch, hidden], attr(call, "cell_bits")),
        ]
    )


def pack_gates(rows: np.ndarray, gates: int) -> np.ndarray:
    """[gates * H, ...] -> contiguous [H, gates, ...]."""
    shaped = rows.reshape(gates, rows.shape[0] // gates, *rows.shape[1:])
    return np.ascontiguousarray(np.swapaxes(shaped, 0, 1))


def legalize(bb: Any, call: Any) -> Any:
    x, h0, c0 = call.args[:3]
    w_ih, w_hh, bias, mult_ih, mult_hh = (
        constant(a, bb, f"irnn.lstm {n}")
        for a, n in zip(call.args[3:8], ("w_ih", "w_hh", "bias", "mult_ih", "mult_hh"), strict=True)
    )
    weights = np.concatenate([pack_gates(w_ih, GATES), pack_gates(w_hh, GATES)], axis=2)
    constants = [relax.const(np.ascontiguousarray(weights), "int8")]
    constants += [relax.const(pack_gates(a, GATES), "int32") for a in (bias, mult_ih, mult_hh)]
    constants.append(call.args[8])
    batch, hidden = (int(d) for d in shape_of(h0))
    func = build(call, batch, int(shape_of(x)[2]), hidden, int(shape_of(call.args[8])[2]))
    outs = emit_scan(
        bb,
        func,
        "lstm_step",
        x,
        h0,
        [c0],
        constants,
        call.ty.fields[0],
        [],
        last_y=True,
        reverse=bool(attr(call, "reverse")),
    )
    return relax.Tuple(outs)


def build(call: Any, batch: int, width: int, hidden: int, pieces: int) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in."""
    from tvm.tirx.script import builder as T

    gate_shift, gate_zp, gate_bits = attr(call, "gate_shift"), attr(call, "gate_zp"), attr(call, "gate_bits")
    table_shift, act_zp = attr(call, "table_shift"), attr(call, "act_zp")
    cell_bits, cell_zp = attr(call, "cell_bits"), attr(call, "cell_zp")
    depth = width + hidden
    with kernel("lstm_step", "recurrent_step", {MACS_ATTR: batch * hidden * GATES * depth}, 2) as k:
        x = k.arg("x", (batch, width), "int8")
        h = k.arg("h", (batch, hidden), "int8")
        c = k.arg("c", (batch, hidden), f"int{cell_bits}")
        w = k.arg("w", (hidden, GATES, depth), "int8")
        bias = k.arg("bias", (hidden, GATES), "int32")
        m_ih = k.arg("mult_ih", (hidden, GATES), "int32")
        m_hh = k.arg("mult_hh", (hidden, GATES), "int32")
        tables = k.arg("tables", (GATES + 1, 3, pieces), "int16")
        h_out = k.arg("h_out", (batch, hidden), "int8")
        c_out = k.arg("c_out", (batch, hidden), f"int{cell_bits}")
        with T.grid(batch, hidden) as (b, j):
            with T.sblock("unit"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(hidden, j)
                T.reads(x[vb, 0:width], h[vb, 0:hidden], c[vb, vj], w[vj, 0:GATES, 0:depth], bias[vj, 0:GATES],
                        m_ih[vj, 0:GATES], m_hh[vj, 0:GATES], tables[0 : GATES + 1, 0:3, 0:pieces])  # fmt: skip
                T.writes(h_out[vb, vj], c_out[vb, vj])
                acc_x = T.sblock_alloc_buffer((GATES,), "int32")
                acc_h = T.sblock_alloc_buffer((GATES,), "int32")
                act = T.sblock_alloc_buffer((GATES + 1,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")
                dot_rows("x", acc_x, GATES, width, (w, lambda g, i: (vj, g, i)), (x, lambda i: (vb, i)),
                         (bias, lambda g: (vj, g)))  # fmt: skip
                dot_rows("h", acc_h, GATES, hidden, (w, lambda g, i: (vj, g, width + i)), (h, lambda i: (vb, i)),
                         None)  # fmt: skip
                with T.sblock("update"):
                    T.reads(acc_x[0:GATES], acc_h[0:GATES], c[vb, vj], m_ih[vj, 0:GATES], m_hh[vj, 0:GATES],
                            tables[0 : GATES + 1, 0:3, 0:pieces])  # fmt: skip
                    T.writes(h_out[vb, vj], c_out[vb, vj])
                    for g in range(GATES):
                        acc = fp.i64(acc_x[g]) * fp.i64(m_ih[vj, g]) + fp.i64(acc_h[g]) * fp.i64(m_hh[vj, g])
                        pre = fp.rescale(acc, gate_shift[g], gate_zp[g], gate_bits)
                        gate = fp.pwl(scratch, tables, g, pieces, table_shift[g], fp.i32(pre), gate_bits)
                        T.buffer_store(act, fp.i32(gate) - act_zp[g], [g])
                    keep = fp.i64(act[1] * (fp.i32(c[vb, vj]) - cell_zp)) * fp.const64(attr(call, "f_mult"))
                    new = fp.i64(act[0] * act[2]) * fp.const64(attr(call, "i_mult"))
                    cell = fp.rescale(keep + new, attr(call, "cell_shift"), cell_zp, cell_bits)
                    T.buffer_store(act, fp.i32(cell), [GATES])
                    T.buffer_store(c_out, T.Cast(f"int{cell_bits}", act[GATES]), [vb, vj])
                    tanh_c = fp.pwl(scratch, tables, GATES, pieces, table_shift[GATES], act[GATES], gate_bits)
                    out = fp.i64(act[3] * (fp.i32(tanh_c) - act_zp[GATES])) * fp.const64(attr(call, "h_mult"))
                    value = fp.rescale(out, attr(call, "h_shift"), attr(call, "h_zp"), 8)
                    T.buffer_store(h_out, value, [vb, vj])
    return k.result


define(
    "lstm",
    ["x", "h0", "c0", "w_ih", "w_hh", "bias", "mult_ih", "mult_hh", "tables"],
    infer,
    legalize,
)
