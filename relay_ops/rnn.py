"""irnn.rnn: Relax op and TIR lowering of one step (formula: irnn_tvm/ops/rnn.py).

Four units share each activation load; weights are packed [H][X + H].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from . import fixed_point as fp
from .kernel import MACS_ATTR, kernel
from .matvec import dot_rows
from .registry import attr, constant, define, optional_arguments, shape_of, tensor
from .scan import emit_scan

REQUIRED = ("x", "h0", "w_ih", "w_hh", "bias", "mult_ih", "mult_hh")
OPTIONAL = ("table",)
UNITS = 4


def infer(call: Any) -> Any:
    steps, batch, _ = shape_of(call.args[0])
    hidden = shape_of(call.args[1])[1]
    return relax.TupleType([tensor([steps, batch, hidden], 8), tensor([batch, hidden], 8)])


def legalize(bb: Any, call: Any) -> Any:
    present = optional_arguments(call, REQUIRED, OPTIONAL)
    x, h0 = present["x"], present["h0"]
    arrays = {n: constant(e, bb, f"irnn.rnn {n}") for n, e in present.items() if n not in ("x", "h0")}
    batch, hidden = (int(d) for d in shape_of(h0))
    weights = np.concatenate([arrays["w_ih"], arrays["w_hh"]], axis=1)
    constants = [relax.const(np.ascontiguousarray(weights), "int8")]
    constants += [relax.const(arrays[name], "int32") for name in ("bias", "mult_ih", "mult_hh")]
    pieces = 0
    if "table" in arrays:
        constants.append(relax.const(arrays["table"], "int16"))
        pieces = int(arrays["table"].shape[1])
    outs = emit_scan(
        bb,
        build(call, batch, int(shape_of(x)[2]), hidden, pieces),
        "rnn_step",
        x,
        h0,
        [],
        constants,
        call.ty.fields[0],
        [],
        last_y=True,
        reverse=bool(attr(call, "reverse")),
    )
    return relax.Tuple(outs)


def build(call: Any, batch: int, width: int, hidden: int, pieces: int) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in. pieces: of the table, 0 for relu."""
    from tvm.tirx.script import builder as T

    depth, shift, zp, bits = width + hidden, attr(call, "shift"), attr(call, "zp"), attr(call, "gate_bits")
    with kernel("rnn_step", "recurrent_step", {MACS_ATTR: batch * hidden * depth}, 1) as k:
        x = k.arg("x", (batch, width), "int8")
        h = k.arg("h", (batch, hidden), "int8")
        w = k.arg("w", (hidden, depth), "int8")
        bias, m_ih, m_hh = (k.arg(name, (hidden,), "int32") for name in ("bias", "mult_ih", "mult_hh"))
        table: Any = k.arg("table", (3, pieces), "int16") if pieces else None
        y = k.arg("y", (batch, hidden), "int8")
        table_region = [table[0:3, 0:pieces]] if pieces else []

        def units(vb: Any, first: Any, rows: int, name: str) -> None:
            acc_x = T.sblock_alloc_buffer((rows,), "int32")
            acc_h = T.sblock_alloc_buffer((rows,), "int32")
            scratch = T.sblock_alloc_buffer((2,), "int32")
            dot_rows(f"x_{name}", acc_x, rows, width, (w, lambda g, i: (first + g, i)), (x, lambda i: (vb, i)),
                     (bias, lambda g: (first + g,)))  # fmt: skip
            dot_rows(f"h_{name}", acc_h, rows, hidden, (w, lambda g, i: (first + g, width + i)),
                     (h, lambda i: (vb, i)), None)  # fmt: skip
            with T.sblock(f"update_{name}"):
                mults = (m[first : first + rows] for m in (m_ih, m_hh))
                T.reads(acc_x[0:rows], acc_h[0:rows], *mults, *table_region)
                T.writes(y[vb, first : first + rows])
                for g in range(rows):
                    at = first + g
                    acc = fp.i64(acc_x[g]) * fp.i64(m_ih[at]) + fp.i64(acc_h[g]) * fp.i64(m_hh[at])
                    if pieces:
                        pre = fp.i32(fp.rescale(acc, shift, zp, bits))
                        value = fp.pwl(scratch, table, None, pieces, attr(call, "table_shift"), pre, 8)
                    else:
                        value = T.max(fp.rescale(acc, shift, zp, 8), T.int8(zp))
                    T.buffer_store(y, value, [vb, at])

        blocks, rest = divmod(hidden, UNITS)

        def regions(vb: Any, first: Any, rows: int) -> None:
            vectors = (v[first : first + rows] for v in (bias, m_ih, m_hh))
            weights = w[first : first + rows, 0:depth]
            T.reads(x[vb, 0:width], h[vb, 0:hidden], weights, *vectors, *table_region)
            T.writes(y[vb, first : first + rows])

        if blocks:
            with T.grid(batch, blocks) as (b, j):
                with T.sblock("unit"):
                    vb, vj = T.axis.spatial(batch, b), T.axis.spatial(blocks, j)
                    regions(vb, vj * UNITS, UNITS)
                    units(vb, vj * UNITS, UNITS, "rows")
        if rest:
            with T.serial(batch) as b:
                with T.sblock("unit_rest"):
                    vb = T.axis.spatial(batch, b)
                    regions(vb, blocks * UNITS, rest)
                    units(vb, blocks * UNITS, rest, "rest")
    return k.result


define("rnn", [*REQUIRED, *OPTIONAL], infer, legalize)
