"""irnn.gru_norm: Relax op and TIR lowering of one step (formula: irnn_tvm/ops/gru_norm.py).

Stages of each batch row: both products of all gates, their four statistics, then gates and state of every unit. Scratch
parameters hold products, rows of r and z of a unit next to each other. In tiles of units: gru_norm_tiles.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm import relax
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from . import gru_norm_tiles, normalize, requantize
from .gru_norm_formulas import GATES, PRODUCTS, NormLayer, fits, locals_of
from .input_products import Step, with_inputs
from .lanes import Lanes
from .lstm import pack_gates
from .lstm_general_layout import Shapes
from .matvec import dot_rows
from .registry import attr, constant, define, shape_of, tensor
from .registry import call as irnn_call
from .scan import emit_scan
from .tiles import tiling

ROWS = ("bias_ih", "bias_hh", "mult_ih", "mult_hh", "gain_ih", "gain_hh", "gate_bias")
ARGUMENTS = ("x", "h0", "w_ih", "w_hh", *ROWS, "reset_bias", "tables")


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
    width, pieces = int(shape_of(x)[2]), int(arrays["tables"].shape[2])
    layer = NormLayer(call, batch, width, hidden, pieces, fits(call, arrays))
    tile = tiling(GATES, hidden, batch, (arrays["w_ih"], arrays["w_hh"]), arrays["tables"])
    if tile is None:
        step, packed = Step(build(layer)), pack_rows(arrays)
        scratch = row_scratch_shapes(layer)
    else:
        form = partial(gru_norm_tiles.build, layer, tile)
        step = with_inputs(tile, batch, arrays["w_ih"], arrays["bias_ih"], form)
        packed = gru_norm_tiles.pack(arrays, tile)
        scratch = gru_norm_tiles.scratch_shapes(layer, tile)
    # The products see an int8 copy of the state; for the first step it is made here, later it is the last output.
    copy = irnn_call("requantize", [h0], {
        "in_zp": attr(call, "state_zp"), "mult": attr(call, "out_mult"), "shift": attr(call, "out_shift"),
        "out_zp": attr(call, "out_zp"), "out_bits": 8,
    })  # fmt: skip
    h8 = bb.emit(requantize.legalize(bb, bb.normalize(copy)))
    outs = emit_scan(
        bb,
        step.func,
        "gru_norm_step",
        x,
        h8,
        [h0],
        [relax.const(array, str(array.dtype)) for array in [*packed, *step.constants]],
        call.ty.fields[0],
        [*(relax.TensorType(list(shape), dtype) for shape, dtype in scratch.values()), *step.scratch],
        last_y=False,
        reverse=bool(attr(call, "reverse")),
        inputs=step.inputs,
    )
    return relax.Tuple(outs)


def pack_rows(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Constants of `build` in its order."""
    weights = np.concatenate([pack_gates(arrays["w_ih"], GATES), pack_gates(arrays["w_hh"], GATES)], axis=2)
    rows = [pack_gates(arrays[name], GATES) for name in ROWS]
    return [np.ascontiguousarray(weights), *rows, arrays["reset_bias"], arrays["tables"]]


def row_scratch_shapes(layer: NormLayer) -> Shapes:
    """Scratch parameters of `build` in order: the products by name."""
    return {name: ((layer.batch, n * layer.hidden), "int16") for name, n in PRODUCTS.items()}


def build(layer: NormLayer) -> Any:
    """PrimFunc of one step, a unit at a time; scalars of the op are compiled in."""
    batch, width, hidden, pieces = layer.batch, layer.width, layer.hidden, layer.pieces
    depth, state = width + hidden, f"int{layer.state_bits}"
    with layer.open("gru_norm_step", 6, batch * hidden * GATES * depth) as k:
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
        buffers |= {name: k.arg(name, *shape) for name, shape in row_scratch_shapes(layer).items()}
        with T.serial(batch) as b:
            with T.sblock("row"):
                vb = T.axis.spatial(batch, b)
                rows = [buffers["x"][vb, 0:width], buffers["h8"][vb, 0:hidden], buffers["h"][vb, 0:hidden]]
                rows += [buffers["w"][0:hidden, 0:GATES, 0:depth], buffers["reset_bias"][0:hidden]]
                rows += [buffers[name][0:hidden, 0:GATES] for name in ROWS]
                rows.append(buffers["tables"][0:GATES, 0:3, 0:pieces])
                T.reads(*rows)
                outs = [buffers["y"][vb, 0:hidden], buffers["h_out"][vb, 0:hidden]]
                T.writes(*outs, *(buffers[name][vb, 0 : n * hidden] for name, n in PRODUCTS.items()))
                step = _Row(layer, buffers, vb)
                step.products()
                step.gates(step.statistics())
    return k.result


class _Row:
    """Emits the stages of one batch row inside the current block."""

    def __init__(self, layer: NormLayer, buffers: dict[str, Any], b: Any) -> None:
        self.layer, self.call, self.buffers, self.b = layer, layer.call, buffers, b
        self.width, self.hidden = layer.width, layer.hidden

    def _rows(self, names: tuple[str, ...], unit: Any) -> list[Any]:
        return [self.buffers[name][unit, 0:GATES] for name in names]

    def _products_of(self, unit: Any) -> list[Any]:
        b, named = self.b, self.buffers
        return [named[p][b, unit * n : unit * n + n] for p, n in PRODUCTS.items()]

    def products(self) -> None:
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
                            T.buffer_store(named[list(PRODUCTS)[pair]], value, [b, at])

    def statistics(self) -> dict[str, Any]:
        """Cells of the four norms by product."""
        eps, found = attr(self.call, "norm_eps"), {}
        for number, name in enumerate(PRODUCTS):

            def read(i: Any, buffer: Any = self.buffers[name]) -> Any:
                return buffer, (self.b, i)

            n = self.layer.row_length(name)
            found[name] = normalize.row_statistics(self.layer.kind, f"norm_{name}", n, read, eps[number])
        return found

    def gates(self, cells: dict[str, Any]) -> None:
        b, named, hidden, lanes = self.b, self.buffers, self.hidden, Lanes()
        h, y, h_out = named["h"], named["y"], named["h_out"]
        tables = named["tables"][0:GATES, 0:3, 0 : self.layer.pieces]
        with T.serial(hidden) as j:
            with T.sblock("unit"):
                vj = T.axis.spatial(hidden, j)
                T.reads(
                    *self._products_of(vj), *self._rows(("gain_ih", "gain_hh", "gate_bias"), vj),
                    named["reset_bias"][vj], h[b, vj], tables, *(c[0 : normalize.CELLS] for c in cells.values()),
                )  # fmt: skip
                T.writes(y[b, vj], h_out[b, vj])

                def element(product: str, gate: int) -> Any:
                    return fp.i32(named[product][b, vj if gate == 2 else vj * 2 + gate])

                def vector(name: str, gate: int) -> Any:
                    return named[name][vj] if name == "reset_bias" else named[name][vj, gate]

                def store(state: Any, copy: Any) -> None:
                    T.buffer_store(h_out, state, [b, vj])
                    T.buffer_store(y, copy, [b, vj])

                old, local = fp.i32(h[b, vj]), locals_of(lanes)
                self.layer.update(lanes, cells, element, vector, named["tables"], old, store, local)


define("gru_norm", list(ARGUMENTS), infer, legalize)
