"""irnn.gru_norm: Relax op and TIR lowering of one step (formula: irnn_tvm/ops/gru_norm.py).

Stages of each batch row: both products of all gates, their four statistics, then gates and state of every unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from . import fixed_point as fp
from . import normalize, requantize
from .kernel import MACS_ATTR, kernel
from .lstm import pack_gates
from .lstm_general_layout import KINDS
from .matvec import dot_rows
from .registry import attr, constant, define, shape_of, tensor
from .registry import call as irnn_call
from .scan import emit_scan

GATES = 3
ROWS = ("bias_ih", "bias_hh", "mult_ih", "mult_hh", "gain_ih", "gain_hh", "gate_bias")
ARGUMENTS = ("x", "h0", "w_ih", "w_hh", *ROWS, "reset_bias", "tables")
# Scratch: products on their 16-bit grids, rows of r and z of a unit next to each other.
PRODUCTS = ("x_rz", "x_n", "h_rz", "h_n")


def infer(call: Any) -> Any:
    steps, batch, _ = shape_of(call.args[0])
    hidden = shape_of(call.args[1])[1]
    return relax.TupleType(
        [tensor([steps, batch, hidden], 8), tensor([batch, hidden], attr(call, "state_bits"))]
    )


def legalize(bb: Any, call: Any) -> Any:
    x, h0 = call.args[:2]
    arrays = {
        name: constant(expr, bb, f"irnn.gru_norm {name}")
        for name, expr in zip(ARGUMENTS[2:], call.args[2:], strict=True)
    }
    batch, hidden = (int(d) for d in shape_of(h0))
    weights = np.concatenate([pack_gates(arrays["w_ih"], GATES), pack_gates(arrays["w_hh"], GATES)], axis=2)
    constants = [relax.const(np.ascontiguousarray(weights), "int8")]
    constants += [relax.const(pack_gates(arrays[name], GATES), "int32") for name in ROWS]
    constants += [relax.const(arrays["reset_bias"], "int32"), relax.const(arrays["tables"], "int16")]
    # The products see an int8 copy of the state; for the first step it is made here, later it is the last output.
    copy = irnn_call("requantize", [h0], {
        "in_zp": attr(call, "state_zp"), "mult": attr(call, "out_mult"), "shift": attr(call, "out_shift"),
        "out_zp": attr(call, "out_zp"), "out_bits": 8,
    })  # fmt: skip
    h8 = bb.emit(requantize.legalize(bb, bb.normalize(copy)))
    scratch = [relax.TensorType([batch, n * hidden], "int16") for n in (2, 1, 2, 1)]
    outs = emit_scan(
        bb,
        build(call, batch, int(shape_of(x)[2]), hidden, int(arrays["tables"].shape[2])),
        "gru_norm_step",
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


def build(call: Any, batch: int, width: int, hidden: int, pieces: int) -> Any:
    """PrimFunc of one step; scalars of the op are compiled in."""
    from tvm.tirx.script import builder as T

    depth, state = width + hidden, f"int{attr(call, 'state_bits')}"
    with kernel("gru_norm_step", "recurrent_step", {MACS_ATTR: batch * hidden * GATES * depth}, 6) as k:
        buffers = {
            "x": k.arg("x", (batch, width), "int8"),
            "h8": k.arg("h8", (batch, hidden), "int8"),
            "h": k.arg("h", (batch, hidden), state),
            "w": k.arg("w", (hidden, GATES, depth), "int8"),
        }
        buffers |= {name: k.arg(name, (hidden, GATES), "int32") for name in ROWS}
        buffers["reset_bias"] = k.arg("reset_bias", (hidden,), "int32")
        buffers["tables"] = k.arg("tables", (GATES, 3, pieces), "int16")
        buffers["y"] = k.arg("y", (batch, hidden), "int8")
        buffers["h_out"] = k.arg("h_out", (batch, hidden), state)
        for name, n in zip(PRODUCTS, (2, 1, 2, 1), strict=True):
            buffers[name] = k.arg(name, (batch, n * hidden), "int16")
        with T.serial(batch) as b:
            with T.sblock("row"):
                vb = T.axis.spatial(batch, b)
                rows = [buffers["x"][vb, 0:width], buffers["h8"][vb, 0:hidden], buffers["h"][vb, 0:hidden]]
                rows += [buffers["w"][0:hidden, 0:GATES, 0:depth], buffers["reset_bias"][0:hidden]]
                rows += [buffers[name][0:hidden, 0:GATES] for name in ROWS]
                rows.append(buffers["tables"][0:GATES, 0:3, 0:pieces])
                T.reads(*rows)
                outs = [buffers["y"][vb, 0:hidden], buffers["h_out"][vb, 0:hidden]]
                scratch = zip(PRODUCTS, (2, 1, 2, 1), strict=True)
                T.writes(*outs, *(buffers[name][vb, 0 : n * hidden] for name, n in scratch))
                step = _Row(call, buffers, vb, width, hidden, pieces)
                step.products()
                step.gates(step.statistics())
    return k.result


class _Row:
    """Emits the stages of one batch row inside the current block."""

    def __init__(
        self, call: Any, buffers: dict[str, Any], b: Any, width: int, hidden: int, pieces: int
    ) -> None:
        self.call, self.buffers, self.b = call, buffers, b
        self.width, self.hidden, self.pieces = width, hidden, pieces
        self.bits = attr(call, "gate_bits")

    def _rows(self, names: tuple[str, ...], unit: Any) -> list[Any]:
        return [self.buffers[name][unit, 0:GATES] for name in names]

    def _products_of(self, unit: Any) -> list[Any]:
        b, named = self.b, self.buffers
        return [named[p][b, unit * n : unit * n + n] for p, n in zip(PRODUCTS, (2, 1, 2, 1), strict=True)]

    def products(self) -> None:
        from tvm.tirx.script import builder as T

        b, named, hidden, width = self.b, self.buffers, self.hidden, self.width
        x, h8, w = named["x"], named["h8"], named["w"]
        shifts = attr(self.call, "norm_shift")
        with T.serial(hidden) as j:
            with T.sblock("unit_products"):
                vj = T.axis.spatial(hidden, j)
                constants = self._rows(("bias_ih", "bias_hh", "mult_ih", "mult_hh"), vj)
                T.reads(x[b, 0:width], h8[b, 0:hidden], w[vj, 0:GATES, 0 : width + hidden], *constants)
                T.writes(*self._products_of(vj))
                acc_x = T.sblock_alloc_buffer((GATES,), "int32")
                acc_h = T.sblock_alloc_buffer((GATES,), "int32")
                dot_rows("x", acc_x, GATES, width, (w, lambda g, i: (vj, g, i)), (x, lambda i: (b, i)),
                         (named["bias_ih"], lambda g: (vj, g)))  # fmt: skip
                dot_rows("h", acc_h, GATES, hidden, (w, lambda g, i: (vj, g, width + i)), (h8, lambda i: (b, i)),
                         (named["bias_hh"], lambda g: (vj, g)))  # fmt: skip
                with T.sblock("rescale_products"):
                    T.reads(acc_x[0:GATES], acc_h[0:GATES], *self._rows(("mult_ih", "mult_hh"), vj))
                    T.writes(*self._products_of(vj))
                    for part, (acc, mult) in enumerate(((acc_x, "mult_ih"), (acc_h, "mult_hh"))):
                        for g in range(GATES):
                            pair = 2 * part + (g == 2)
                            at = vj if g == 2 else vj * 2 + g
                            wide = fp.i64(acc[g]) * fp.i64(named[mult][vj, g])
                            value = fp.rescale(wide, shifts[pair], 0, 16)
                            T.buffer_store(named[PRODUCTS[pair]], value, [b, at])

    def statistics(self) -> list[Any]:
        """Cells of the four norms."""
        kind, eps = KINDS[attr(self.call, "norm")], attr(self.call, "norm_eps")
        found = []
        for number, (name, n) in enumerate(zip(PRODUCTS, (2, 1, 2, 1), strict=True)):

            def read(i: Any, buffer: Any = self.buffers[name]) -> Any:
                return buffer, (self.b, i)

            found.append(normalize.row_statistics(kind, f"norm_{name}", n * self.hidden, read, eps[number]))
        return found

    def gates(self, cells: list[Any]) -> None:
        from tvm.tirx.script import builder as T

        b, named, hidden, call = self.b, self.buffers, self.hidden, self.call
        h, y, h_out = named["h"], named["y"], named["h_out"]
        with T.serial(hidden) as j:
            with T.sblock("unit"):
                vj = T.axis.spatial(hidden, j)
                T.reads(
                    *self._products_of(vj), *self._rows(("gain_ih", "gain_hh", "gate_bias"), vj),
                    named["reset_bias"][vj], h[b, vj], named["tables"][0:GATES, 0:3, 0 : self.pieces],
                    *(c[0 : normalize.CELLS] for c in cells),
                )  # fmt: skip
                T.writes(y[b, vj], h_out[b, vj])
                act = T.sblock_alloc_buffer((GATES + 1,), "int32")
                scratch = T.sblock_alloc_buffer((2,), "int32")

                def unit_of(pair: int, g: int) -> Any:
                    n, at = (hidden, vj) if g == 2 else (2 * hidden, vj * 2 + g)
                    return normalize.unit(cells[pair], fp.i32(named[PRODUCTS[pair]][b, at]), n)

                def activate(acc: Any, g: int) -> None:
                    shift, zp = attr(call, "gate_shift")[g], attr(call, "gate_zp")[g]
                    pre = fp.rescale(acc, shift, zp, self.bits)
                    table_shift = attr(call, "table_shift")[g]
                    value = fp.pwl(
                        scratch, named["tables"], g, self.pieces, table_shift, fp.i32(pre), self.bits
                    )
                    T.buffer_store(act, fp.i32(value) - attr(call, "act_zp")[g], [g])

                gain_x, gain_h, bias = (named[n] for n in ("gain_ih", "gain_hh", "gate_bias"))
                for g in range(2):
                    both = normalize.affine(unit_of(0, g), gain_x[vj, g], bias[vj, g])
                    activate(both + unit_of(2, g) * fp.i64(gain_h[vj, g]), g)
                reset = normalize.affine(unit_of(3, 2), gain_h[vj, 2], named["reset_bias"][vj])
                hn = fp.rescale(reset, attr(call, "reset_shift"), 0, 16)
                T.buffer_store(act, fp.i32(hn), [3])
                gated = fp.i64(act[0] * act[3]) * fp.const64(attr(call, "rn_mult"))
                activate(normalize.affine(unit_of(1, 2), gain_x[vj, 2], bias[vj, 2]) + gated, 2)
                self._state(act, vj)

    def _state(self, act: Any, unit: Any) -> None:
        """New state and output from r, z, n in act[0:3]."""
        from tvm.tirx.script import builder as T

        call, b, named = self.call, self.b, self.buffers
        state_zp, bits = attr(call, "state_zp"), attr(call, "state_bits")
        new = fp.i64((attr(call, "z_one") - act[1]) * act[2]) * fp.const64(attr(call, "n_mult"))
        keep = fp.i64(act[1] * (fp.i32(named["h"][b, unit]) - state_zp)) * fp.const64(attr(call, "h_mult"))
        state = fp.rescale(new + keep, attr(call, "state_shift"), state_zp, bits)
        T.buffer_store(act, fp.i32(state), [3])
        T.buffer_store(named["h_out"], T.Cast(f"int{bits}", act[3]), [b, unit])
        product = fp.i64(act[3] - state_zp) * fp.const64(attr(call, "out_mult"))
        out = fp.rescale(product, attr(call, "out_shift"), attr(call, "out_zp"), 8)
        T.buffer_store(named["y"], out, [b, unit])


define("gru_norm", list(ARGUMENTS), infer, legalize)
