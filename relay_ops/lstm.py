"""irnn.lstm: Relax op and TIR lowering of one step (formula: irnn_tvm/ops/lstm.py).

Weights are packed so that one pass over them in memory order feeds the four dot products, the rescale, the activations
and the cell update of a unit, or of a tile of units, and nothing but h and c leaves registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tvm import relax
from tvm.tirx.script import builder as T

from . import fixed_point as fp
from .from_inputs import Ahead
from .input_products import Step, with_inputs
from .lanes import Lanes
from .matvec import dot_rows
from .planes import Planes
from .products import Product, local_sums, sum_products
from .recurrent_layer import RecurrentLayer
from .registry import attr, constant, define, shape_of, tensor
from .scan import emit_scan
from .tiles import TileState, Tiling, for_each_tile, products_bound, tiling

GATES = 4
Expr = Any
Terms = list[tuple[Expr, Expr]]


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
    names = ("w_ih", "w_hh", "bias", "mult_ih", "mult_hh", "tables")
    arrays = {n: constant(a, bb, f"irnn.lstm {n}") for a, n in zip(call.args[3:9], names, strict=True)}
    batch, hidden = (int(d) for d in shape_of(h0))
    layer = Layer(call, batch, int(shape_of(x)[2]), hidden, arrays["tables"].shape[2], fits(call, arrays))
    tile = tiling(GATES, hidden, batch, (arrays["w_ih"], arrays["w_hh"]), arrays["tables"], True)
    packed = pack_rows(arrays) if tile is None else pack_tiles(arrays, tile)
    if tile is None:
        step = Step(build_rows(layer))
    else:
        step = with_inputs(tile, batch, arrays["w_ih"], arrays["bias"], partial(build_tiles, layer, tile))
    outs = emit_scan(
        bb,
        step.func,
        "lstm_step",
        x,
        h0,
        [c0],
        [relax.const(a, str(a.dtype)) for a in [*packed, *step.constants]],
        call.ty.fields[0],
        [*([] if tile is None else Planes(tile.isa, batch, hidden).types), *step.scratch],
        last_y=True,
        reverse=bool(attr(call, "reverse")),
        inputs=step.inputs,
    )
    return relax.Tuple(outs)


def fits(call: Any, arrays: dict[str, np.ndarray]) -> bool:
    """Whether every sum that is rescaled fits int32 before it is saturated."""
    worst = products_bound(arrays["w_ih"], arrays["mult_ih"], arrays["bias"])
    worst = worst + products_bound(arrays["w_hh"], arrays["mult_hh"], None)
    pairs = zip(
        worst.reshape(GATES, -1).max(axis=1), attr(call, "gate_shift"), attr(call, "gate_zp"), strict=True
    )
    unit, cell = 1 << attr(call, "gate_bits"), 1 << attr(call, "cell_bits")
    state = unit * cell * attr(call, "f_mult") + unit * unit * attr(call, "i_mult")
    return (
        all(fp.within_int32(int(bound), shift, zp) for bound, shift, zp in pairs)
        and fp.within_int32(state, attr(call, "cell_shift"), attr(call, "cell_zp"))
        and fp.within_int32(unit * unit * attr(call, "h_mult"), attr(call, "h_shift"), attr(call, "h_zp"))
    )


def pack_rows(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Constants of `build_rows` in its order."""
    weights = np.concatenate([pack_gates(arrays[n], GATES) for n in ("w_ih", "w_hh")], axis=2)
    vectors = [pack_gates(arrays[n], GATES) for n in ("bias", "mult_ih", "mult_hh")]
    return [np.ascontiguousarray(weights), *vectors, arrays["tables"]]


def pack_tiles(arrays: dict[str, np.ndarray], tile: Tiling) -> list[np.ndarray]:
    """Constants of `build_tiles` in its order."""
    multipliers = [tile.pack(arrays[n]) for n in ("mult_ih", "mult_hh")]
    return [tile.pack_weights(arrays["w_hh"]), *multipliers, tile.pack_table(arrays["tables"])]


class Layer(RecurrentLayer):
    """A call of the op, and the formulas of a step that both kernels share."""

    @property
    def cell(self) -> str:
        return f"int{attr(self.call, 'cell_bits')}"

    def update(
        self,
        lanes: Lanes,
        pre: Callable[[int], list[tuple[Expr, Expr]]],
        tables: Any,
        act: Any,
        scratch: tuple[Any, Any],
        c: Expr,
        store: Callable[[Expr, Expr], None],
    ) -> None:
        """The gates and the new state of the units of `lanes`.

        pre: gate to its sums and their multipliers; act: int16 local [GATES + 1, lanes]; scratch: what `Lanes.scratch`
        and `Lanes.sums` made; c: the old cell, int32; store: takes the new cell and the new h.
        """
        call, bits = self.call, attr(self.call, "gate_bits")
        shift, zp, act_zp = attr(call, "gate_shift"), attr(call, "gate_zp"), attr(call, "act_zp")
        table_shift = attr(call, "table_shift")
        for g in range(GATES):
            q = lanes.rescale(scratch[1], pre(g), shift[g], zp[g], bits, self.fits)
            gate = lanes.activate(scratch[0], tables, g, self.pieces, table_shift[g], q, bits)
            # Without its zero point an 8-bit gate needs 9 bits; 16-bit gates have none.
            lanes.store(act, fp.cast(16, gate) - T.int16(act_zp[g]) if act_zp[g] else fp.cast(16, gate), g, 0)
        i, f, g, o = (fp.i32(lanes.load(act, gate, 0)) for gate in range(GATES))
        cell_zp, cell_shift, cell_bits = (attr(call, n) for n in ("cell_zp", "cell_shift", "cell_bits"))
        f_mult, i_mult, h_mult = (lanes.wide(T.int32(attr(call, n))) for n in ("f_mult", "i_mult", "h_mult"))
        terms = [(f * (c - cell_zp), f_mult), (i * g, i_mult)]
        cell = lanes.rescale(scratch[1], terms, cell_shift, cell_zp, cell_bits, self.fits)
        lanes.store(act, fp.cast(16, cell), GATES, 0)
        cell = lanes.load(act, GATES, 0)
        tanh = lanes.activate(scratch[0], tables, GATES, self.pieces, table_shift[GATES], cell, bits)
        terms = [(o * (fp.i32(tanh) - act_zp[GATES]), h_mult)]
        h = lanes.rescale(scratch[1], terms, attr(call, "h_shift"), attr(call, "h_zp"), 8, self.fits)
        store(fp.cast(cell_bits, cell), h)


def build_rows(layer: Layer) -> Any:
    """PrimFunc of one step, a unit at a time; scalars of the op are compiled in."""
    batch, width, hidden, pieces = layer.batch, layer.width, layer.hidden, layer.pieces
    depth = width + hidden
    lanes = Lanes()
    with layer.open("lstm_step", 2, batch * hidden * GATES * depth) as k:
        x = k.arg("x", (batch, width), "int8")
        h = k.arg("h", (batch, hidden), "int8")
        c = k.arg("c", (batch, hidden), layer.cell)
        w = k.arg("w", (hidden, GATES, depth), "int8")
        bias = k.arg("bias", (hidden, GATES), "int32")
        m_ih = k.arg("mult_ih", (hidden, GATES), "int32")
        m_hh = k.arg("mult_hh", (hidden, GATES), "int32")
        tables = k.arg("tables", (GATES + 1, 3, pieces), "int16")
        h_out = k.arg("h_out", (batch, hidden), "int8")
        c_out = k.arg("c_out", (batch, hidden), layer.cell)
        with T.grid(batch, hidden) as (b, j):
            with T.sblock("unit"):
                vb, vj = T.axis.spatial(batch, b), T.axis.spatial(hidden, j)
                T.reads(x[vb, 0:width], h[vb, 0:hidden], c[vb, vj], w[vj, 0:GATES, 0:depth], bias[vj, 0:GATES],
                        m_ih[vj, 0:GATES], m_hh[vj, 0:GATES], tables[0 : GATES + 1, 0:3, 0:pieces])  # fmt: skip
                T.writes(h_out[vb, vj], c_out[vb, vj])
                acc_x = T.sblock_alloc_buffer((GATES,), "int32")
                acc_h = T.sblock_alloc_buffer((GATES,), "int32")
                act = T.sblock_alloc_buffer((GATES + 1, 1), "int16")
                scratch = lanes.scratch(), lanes.sums()
                dot_rows("x", acc_x, GATES, width, (w, lambda g, i: (vj, g, i)), (x, lambda i: (vb, i)),
                         (bias, lambda g: (vj, g)))  # fmt: skip
                dot_rows("h", acc_h, GATES, hidden, (w, lambda g, i: (vj, g, width + i)), (h, lambda i: (vb, i)),
                         None)  # fmt: skip
                with T.sblock("update"):
                    T.reads(acc_x[0:GATES], acc_h[0:GATES], c[vb, vj], m_ih[vj, 0:GATES], m_hh[vj, 0:GATES],
                            tables[0 : GATES + 1, 0:3, 0:pieces])  # fmt: skip
                    T.writes(h_out[vb, vj], c_out[vb, vj])

                    def pre(g: int) -> list[tuple[Expr, Expr]]:
                        return [(acc_x[g], m_ih[vj, g]), (acc_h[g], m_hh[vj, g])]

                    def store(cell: Expr, out: Expr) -> None:
                        T.buffer_store(c_out, cell, [vb, vj])
                        T.buffer_store(h_out, out, [vb, vj])

                    layer.update(lanes, pre, tables, act, scratch, fp.i32(c[vb, vj]), store)
    return k.result


def build_tiles(layer: Layer, tile: Tiling, source: Ahead) -> Any:
    """PrimFunc of one step, a tile of units at a time. source: of the products with x."""
    batch, hidden, size = layer.batch, layer.hidden, tile.width
    planes_of_table, row = tile.table_shape(layer.pieces)
    lanes = Lanes(tile.lanes, tile.isa)
    planes = Planes(tile.isa, batch, hidden)
    outputs = 2 + len(planes.types) + source.outputs
    macs = batch * hidden * GATES * (hidden + source.depth)
    with layer.open("lstm_step", outputs, macs, independent=True) as k:
        source.open(k)
        h = k.arg("h", (batch, hidden), "int8")
        c = k.arg("c", (batch, hidden), layer.cell)
        w = k.arg("w", tile.weight_shape(hidden), "int8")
        m_ih = k.arg("mult_ih", (tile.count, size), "int32")
        m_hh = k.arg("mult_hh", (tile.count, size), "int32")
        tables = k.arg("tables", (GATES + 1, planes_of_table, row), "int16")
        source.open_constants(k)
        h_out = k.arg("h_out", (batch, hidden), "int8")
        c_out = k.arg("c_out", (batch, hidden), layer.cell)
        planes.open(k)
        source.open_scratch(k)
        turn = k.turn()
        product = Product(tile, hidden, w)

        def unit(name: str, rows: list[Expr], vj: Expr, valid: Expr) -> None:
            these = slice(rows[0], rows[0] + len(rows))
            units = tile.units(vj, valid)
            constants = [m_ih[vj, 0:size], m_hh[vj, 0:size], tables[0 : GATES + 1, 0:planes_of_table, 0:row]]
            states = [*source.regions(these, vj), c[these, units]]
            T.reads(*planes.regions(h, these), *states, *product.regions(vj), *constants)
            T.writes(h_out[these, units], c_out[these, units])
            sums = local_sums(tile, len(rows))
            act = lanes.local(GATES + 1, "int16")
            scratch = lanes.scratch(), lanes.sums()
            state = TileState(lanes, tile, valid, layer.cell)
            sums_x = source.sum(name, rows, vj)
            sum_products(f"h{name}", product, vj, planes.vectors(h, rows), sums)
            for number, (vb, (sums_h, _), (x, outer)) in enumerate(zip(rows, sums, sums_x, strict=True)):
                with T.sblock(f"update{name}_{number}"):
                    T.reads(sums_h[0:size], x[(*outer, slice(0, size))], c[vb, units], *constants)
                    T.writes(h_out[vb, units], c_out[vb, units])

                    def pre(g: int, sums_h: Any = sums_h, x: Any = x, outer: Any = outer) -> Terms:
                        at = g * tile.lanes
                        from_x = lanes.load(x, *outer, at), lanes.load(m_ih, vj, at)
                        return [from_x, (lanes.load(sums_h, at), lanes.load(m_hh, vj, at))]

                    def store(cell: Expr, out: Expr, vb: Expr = vb) -> None:
                        state.store(cell, c_out, vb, vj)
                        state.store(out, h_out, vb, vj)

                    def update(vb: Expr = vb, pre: Any = pre, store: Any = store) -> None:
                        layer.update(lanes, pre, tables, act, scratch, fp.i32(state.load(c, vb, vj)), store)

                    lanes.each(valid, update)

        source.prepare()
        planes.prepare(h)
        for_each_tile(tile, batch, unit, turn=turn)
    return k.result


define(
    "lstm",
    ["x", "h0", "c0", "w_ih", "w_hh", "bias", "mult_ih", "mult_hh", "tables"],
    infer,
    legalize,
)
